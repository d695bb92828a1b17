"""Reading clips of every kind, and saying what is wrong with those that cannot be read."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from fsat.clips import audio

RATE = 44100


def tone(seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """A 440 Hz sine of amplitude 0.5, float32."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def written(path: Path, x: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", kind: str = "WAV") -> Path:
    soundfile.write(path, x, rate, subtype=subtype, format=kind)
    return path


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1 / 127),
        ("WAV", "PCM_16", 1 / 32767),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "FLOAT", 0),
        ("WAV", "ULAW", 0.02),
        ("WAVEX", "PCM_24", 1e-6),
        ("RF64", "PCM_16", 1 / 32767),
        ("AIFF", "PCM_16", 1 / 32767),
        ("FLAC", "PCM_16", 1 / 32767),
        ("OGG", "VORBIS", 0.02),
    ],
)
def test_reads_every_format(tmp_path: Path, kind: str, subtype: str, tolerance: float) -> None:
    clip = written(tmp_path / "clip", tone(), subtype=subtype, kind=kind)
    assert audio.probe(clip) == audio.ClipInfo(RATE, 1, 0.5, "")
    x = audio.load(clip, RATE)
    assert x.dtype == np.float32
    assert x.shape == tone().shape
    assert np.abs(x - tone()).max() <= tolerance


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22050, 2), (44100, 6), (48000, 2), (192000, 1)])
def test_any_rate_and_channels_become_what_librosa_makes_of_them(tmp_path: Path, rate: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    clip = written(tmp_path / "clip.wav", rng.uniform(-0.5, 0.5, (rate // 3 + 1, channels)), rate)
    info = audio.probe(clip)
    assert (info.sample_rate, info.channels, info.problem) == (rate, channels, "")
    expected, _ = librosa.load(clip, sr=RATE)
    np.testing.assert_array_equal(audio.load(clip, RATE), expected)


@pytest.mark.parametrize(
    "x", [np.zeros(1000), np.full(1000, 0.25), np.array([0.5]), np.ones(100) * 0.1, np.array([0.25, -0.25])]
)
def test_silent_constant_and_short_clips_are_read(tmp_path: Path, x: np.ndarray) -> None:
    clip = written(tmp_path / "clip.wav", x, subtype="FLOAT")
    assert audio.probe(clip).problem == ""
    np.testing.assert_array_equal(audio.load(clip, RATE), x.astype(np.float32))
    assert len(audio.load(clip, 22050)) == -(-len(x) // 2)


def test_ten_minutes_are_probed_in_little_memory(tmp_path: Path) -> None:
    clip = written(tmp_path / "clip.wav", np.tile(tone(1, 16000), 600), 16000)
    tracemalloc.start()
    info = audio.probe(clip)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (info.seconds, info.problem) == (600, "")
    assert peak < 8e6  # the whole clip would be 38 MB of float32


def cut_off(n_bytes: int, kind: str = "WAV") -> Callable[[Path], None]:
    """A clip whose last bytes are missing."""

    def make(path: Path) -> None:
        path.write_bytes(written(path, tone(), kind=kind).read_bytes()[:-n_bytes])

    return make


def absurd_rate(path: Path) -> None:
    content = bytearray(written(path, tone()).read_bytes())
    content[24:28] = (1).to_bytes(4, "little")
    path.write_bytes(content)


AT = np.arange(500_000) == 300_000
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty file": (Path.touch, "0 bytes"),
    "header only": (lambda path: written(path, np.zeros(0)), "a header without samples"),
    "header of lost samples": (cut_off(44_100), "truncated: 0 of 44100 bytes"),
    "truncated": (cut_off(1000), "truncated: 43100 of 44100 bytes"),
    "truncated aiff": (cut_off(1000, "AIFF"), "truncated"),
    "text": (lambda path: path.write_text("this is not audio " * 100), "not audio"),
    "one nan": (lambda path: written(path, np.where(AT, np.nan, 0.1), subtype="FLOAT"), "NaN or infinite"),
    "one infinity": (lambda path: written(path, np.where(AT, -np.inf, 0.1), subtype="FLOAT"), "NaN or infinite"),
    "huge samples": (lambda path: written(path, np.full(1000, 1e30), subtype="DOUBLE"), "samples beyond"),
    "absurd rate": (absurd_rate, "sample rate 1 Hz"),
    "too long": (
        lambda path: written(path, np.zeros(3_601_000), 1000, subtype="PCM_U8"),
        "3601 s long by its header, allowed is 3600; `fsat tag --segments` takes any",
    ),
    "folder": (Path.mkdir, "a folder"),
    "missing": (lambda path: None, "no such file"),
    "pipe": (os.mkfifo, "not a regular file"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD)
def test_bad_clips_are_refused_with_a_reason(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    clip = tmp_path / "clip.wav"
    make(clip)
    info = audio.probe(clip)
    assert (info.sample_rate, info.channels, info.seconds) == (0, 0, 0)
    with pytest.raises(audio.AudioError, match=reason) as raised:
        audio.load(clip, RATE)
    assert raised.value.reason == info.problem
    assert str(raised.value).startswith(str(clip))
    assert "\n" not in info.problem


@pytest.mark.parametrize("name", ["no\0name.wav", "x" * 300 + ".wav"])
def test_strange_names_are_refused(tmp_path: Path, name: str) -> None:
    assert audio.probe(tmp_path / name).problem != ""


def test_denied_permission_is_told(tmp_path: Path) -> None:
    clip = written(tmp_path / "clip.wav", tone())
    clip.chmod(0)
    me = os.geteuid()
    try:
        if me == 0:  # root reads everything, nobody does not
            os.seteuid(65534)
        assert audio.probe(clip).problem == "cannot be opened (Permission denied)"
    finally:
        os.seteuid(me)


def test_interval_is_cut_after_resampling_and_an_empty_one_opens_no_file(tmp_path: Path) -> None:
    clip = written(tmp_path / "clip.wav", tone(0.5, 48000), 48000)
    whole = audio.load(clip, RATE)
    np.testing.assert_array_equal(audio.load_interval(clip, 100, 5000, RATE), whole[100:5000])
    assert audio.load_interval("no/such/clip.wav", 0, 0, RATE).shape == (0,)
