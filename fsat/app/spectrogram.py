"""A recording's spectrogram as a small image, computed as a stream so that its length does not matter."""

import base64
import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from fsat.clips import audio
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.params import Mel
from fsat.features import mel
from fsat.features.mel_bank import BandGroup

WIDTH = 900  # columns of the image
_CHUNK_S = 10.0
_RANGE_DB = 70.0
_DB_PER_NEPER = 10 / np.log(10)
_STOPS = ("#050413", "#3b1c6b", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf")  # dark to bright, evenly in lightness


def draw(path: str, seconds: float, *, sample_rate: int, settings: Mel, bank: Sequence[BandGroup]) -> str:
    """The log-mel spectrogram of a file as PNG data URI: time to the right, low bands below, the loudest 70 dB.

    The file is `seconds` long and is read at `sample_rate`, in Hz; `settings` and `bank` are the networks' own front
    end, so that the image shows what they see. `AudioError` if the file cannot be read to its end.
    """
    columns = np.full((WIDTH, settings.n_mels), -np.inf, dtype=np.float32)
    n_read = 0
    for x in _chunks(audio.stream(path, sample_rate), round(_CHUNK_S * sample_rate)):
        frames = mel.log_mel(x, sample_rate=sample_rate, settings=settings, bank=bank)
        # A frame stands for a hop, which may be wider than a column.
        edges = (n_read / sample_rate + np.arange(len(frames) + 1) / len(frames) * len(x) / sample_rate) / seconds
        first = np.clip((edges[:-1] * WIDTH).astype(np.int64), 0, WIDTH - 1)
        last = np.clip(np.ceil(edges[1:] * WIDTH).astype(np.int64), first + 1, WIDTH)
        for step in range(int((last - first).max(initial=0))):
            inside = first + step < last
            np.maximum.at(columns, first[inside] + step, frames[inside])
        n_read += len(x)
    if MEL_STYLES[settings.style].log == "natural":
        columns *= np.float32(_DB_PER_NEPER)
    top = float(columns.max())
    columns = np.maximum(columns, np.float32(top - _RANGE_DB))
    return _png((columns - (top - _RANGE_DB)) / _RANGE_DB)


def _chunks(blocks: Iterator[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """The same samples in chunks of `length`; the last one takes what is left, up to twice as much."""
    held = np.zeros(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= 2 * length:
            yield held[:length]
            held = held[length:]
    if len(held):
        yield held


def _png(level: np.ndarray) -> str:
    """Values in [0, 1], (width, height), as an image with row 0 below."""
    image = Image.fromarray(np.rint(level * 63).astype(np.uint8).T[::-1])
    image.putpalette(_palette(64))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _palette(n: int) -> bytes:
    """Red, green and blue of `n` colours between the stops."""
    stops = np.array([[int(stop[k : k + 2], 16) for k in (1, 3, 5)] for stop in _STOPS])
    at = np.linspace(0, len(stops) - 1, n)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8).tobytes()
