"""Pictures and sound of single clips as data URIs, small enough for a page that holds a hundred of them."""

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import soundfile

from fsat import audio

PLAYER_RATE = 16_000  # Hz
_PEAK, _MAX_GAIN = 0.9, 10.0
_RANGE_DB = 70.0
# Dark violet to light yellow, even in lightness: anchors of the palette, 0 to 1.
_PALETTE = (
    (13, 8, 28),
    (49, 18, 89),
    (101, 26, 128),
    (158, 47, 127),
    (212, 72, 108),
    (246, 118, 92),
    (254, 177, 119),
    (252, 236, 190),
)


def player(path: Path, start: int, end: int, *, sample_rate: int, seconds: float) -> str:
    """The start of a trimmed clip as MP3, mono at 16 kHz, as data URI; empty for an empty interval.

    MP3 because every browser plays it and libsndfile writes the same bytes each time, which its Ogg streams with their
    random serial numbers are not. Quiet clips are raised, by at most 20 dB.

    Parameters
    ----------
    path : Path
        The clip.
    start, end
        Interval in samples at `sample_rate`.
    seconds
        Longest sound kept.

    Raises
    ------
    fsat.audio.AudioError
        If the clip cannot be read.
    """
    x = audio.load_interval(path, start, end, sample_rate)[: int(seconds * sample_rate)]
    if len(x) == 0:
        return ""
    x = audio.resample(x, sample_rate, PLAYER_RATE)
    peak = float(np.abs(x).max())
    x = x * np.float32(min(_PEAK / peak, _MAX_GAIN) if peak > 0 else 1.0)
    stream = io.BytesIO()
    soundfile.write(stream, x, PLAYER_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.5)
    return _data_uri("audio/mpeg", stream.getvalue())


def picture(frames: np.ndarray, *, max_width: int = 320) -> str:
    """A log-mel spectrogram as PNG data URI: time to the right, low bands below, loudest 70 dB in colour.

    Parameters
    ----------
    frames : np.ndarray [shape=(n_frames, n_mels)]
        In dB, at least one frame.
    max_width
        Pixels; longer clips show the maximum of several frames in each.
    """
    edges = np.linspace(0, len(frames), min(len(frames), max_width) + 1).astype(np.int64)
    columns = np.maximum.reduceat(np.asarray(frames, dtype=np.float32), edges[:-1], axis=0)  # (width, n_mels)
    level = np.clip((columns - columns.max() + _RANGE_DB) / _RANGE_DB, 0.0, 1.0)
    # 64 colours: the eye sees no more here, and zlib finds more to share.
    return _data_uri("image/png", _png(np.rint(level * 63).astype(np.uint8).T[::-1], _colours(64)))


def _colours(n: int) -> np.ndarray:
    """Palette (n, 3), uint8."""
    anchors = np.array(_PALETTE, dtype=np.float64)
    positions = np.linspace(0, len(anchors) - 1, n)
    channels = [np.interp(positions, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _png(pixels: np.ndarray, palette: np.ndarray) -> bytes:
    """PNG with a palette (W3C PNG specification, colour type 3) of indices (height, width)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = pixels.shape
    rows = np.hstack([np.zeros((height, 1), dtype=np.uint8), pixels])  # filter type 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", palette.tobytes())
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
