"""Spectrograms and sound of single clips as data URIs, small enough for a page that holds a hundred of them."""

import base64
import io

import matplotlib as mpl
import numpy as np
import soundfile
from PIL import Image

from fsat.clips import audio

PLAYER_RATE = 16_000  # Hz
_PEAK, _MAX_GAIN = 0.9, 10.0
_RANGE_DB = 70.0
# 64 colours: the eye sees no more here, and a PNG file gets smaller.
_COLOURS = np.rint(mpl.colormaps["magma"](np.linspace(0, 1, 64))[:, :3] * 255).astype(np.uint8)


def player(x: np.ndarray, *, sample_rate: int, seconds: float) -> str:
    """The start of a clip, samples (n,), as MP3, mono at 16 kHz, as data URI; empty for an empty clip.

    MP3 because every browser plays it and libsndfile writes the same bytes each time, which its Ogg streams with their
    random serial numbers are not. Quiet clips are raised, by at most 20 dB; `seconds` is the longest sound kept.
    """
    x = x[: int(seconds * sample_rate)]
    if len(x) == 0:
        return ""
    x = audio.resample(x, sample_rate, PLAYER_RATE)
    peak = float(np.abs(x).max())
    x = x * np.float32(min(_PEAK / peak, _MAX_GAIN) if peak > 0 else 1.0)
    stream = io.BytesIO()
    soundfile.write(stream, x, PLAYER_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.5)
    return _data_uri("audio/mpeg", stream.getvalue())


def spectrogram(frames: np.ndarray) -> str:
    """A log-mel spectrogram as PNG data URI: time to the right, low bands below, loudest 70 dB in colour.

    `frames` (n_frames, n_mels) are in dB, at least one; of a clip of more than 320 frames, each pixel shows the
    maximum of several.
    """
    edges = np.linspace(0, len(frames), min(len(frames), 320) + 1).astype(np.int64)
    columns = np.maximum.reduceat(np.asarray(frames, dtype=np.float32), edges[:-1], axis=0)  # (width, n_mels)
    level = np.clip((columns - columns.max() + _RANGE_DB) / _RANGE_DB, 0.0, 1.0)
    image = Image.fromarray(np.rint(level * (len(_COLOURS) - 1)).astype(np.uint8).T[::-1])
    image.putpalette(_COLOURS.tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return _data_uri("image/png", stream.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
