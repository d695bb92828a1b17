"""Short sounds in the formats that only FFmpeg writes, for tests."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

# Name: container, codec, sample format, rate in Hz.
FORMATS = {
    "m4a": ("ipod", "aac", "fltp", 44_100),
    "webm": ("webm", "libopus", "flt", 48_000),
    "wma": ("asf", "wmav2", "fltp", 44_100),
    "aac": ("adts", "aac", "fltp", 44_100),
    "mp3": ("mp3", "libmp3lame", "fltp", 44_100),
    "3gp": ("3gp", "libopencore_amrnb", "s16", 8_000),
    "amr": ("amr", "libopencore_amrnb", "s16", 8_000),
    "tta": ("tta", "tta", "s16", 44_100),
    "ts": ("mpegts", "aac", "fltp", 44_100),
    "flv": ("flv", "aac", "fltp", 44_100),
    "avi": ("avi", "libmp3lame", "fltp", 48_000),
}
_OPTIONS = {"webm": {"live": "1"}, "mp3": {"write_xing": "0", "id3v2_version": "0"}}


def encoded(name: str, seconds: float = 1.0, *, video: bool = False, sound: bool = True) -> bytes:
    """A tone with noise in a format of `FORMATS`; WebM without sizes and MP3 without a tag, as streams are written."""
    container, codec, sample_format, rate = FORMATS[name]
    t = np.arange(round(seconds * rate)) / rate
    x = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.05 * np.random.default_rng(0).normal(size=len(t))
    content = io.BytesIO()
    with av.open(content, "w", format=container, options=_OPTIONS.get(name, {})) as file:
        if video:
            pictures = file.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 16
            pictures.pix_fmt = "yuv420p"
            picture = av.VideoFrame(16, 16, "yuv420p")
            picture.pts, picture.time_base = 0, Fraction(1, 10)
        if sound:
            track: Any = file.add_stream(codec, rate=rate)
            track.layout, track.format = "mono", sample_format
            if name == "wma":
                track.bit_rate = 64_000
        if video:
            for packet in [*pictures.encode(picture), *pictures.encode(None)]:
                file.mux(packet)
        if sound:
            frame = av.AudioFrame.from_ndarray(x.astype(np.float32)[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            resampler = av.AudioResampler(format=sample_format, layout="mono", rate=rate)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                file.mux(track.encode(part))
            file.mux(track.encode(None))
    return content.getvalue()
