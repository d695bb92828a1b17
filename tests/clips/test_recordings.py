"""Stretches of recordings are read as if they were files of their own, in one pass or by seeking."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from fsat.clips import audio
from fsat.clips.recordings import Sound, each, sounds

RATE = 16_000
SPANS = [(7.0, 9.5), (0.0, 0.25), (0.1, 0.3), (12.345, 12.4), (3.0, 8.0), (19.9, 25.0)]  # the last: beyond the end
FORMATS = {
    "x.wav": {},
    "x.flac": {},
    "x.aiff": {"subtype": "PCM_24"},
    "x.ogg": {},
    "x.mp3": {},
    "x.opus": {"format": "OGG", "subtype": "OPUS"},
}
SOUGHT = {"x.wav", "x.flac", "x.aiff", "x.opus"}


@pytest.fixture
def signal() -> np.ndarray:
    rng = np.random.default_rng(0)
    sweep = np.sin(np.cumsum(np.linspace(0.05, 0.8, 20 * RATE)))
    return np.stack([0.4 * sweep, rng.normal(0, 0.05, len(sweep))], axis=1).astype(np.float32)


def identity(x: np.ndarray) -> np.ndarray:
    return x


@pytest.mark.parametrize("name", FORMATS)
def test_a_stretch_is_what_a_whole_reading_has_there(
    name: str, signal: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    with soundfile.SoundFile(path, "w", RATE, 2, **FORMATS[name]) as stream:
        for start in range(0, len(signal), RATE):
            stream.write(signal[start : start + RATE])
    whole = audio.load(path, RATE)
    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 1 << 14)
    found = each(Sound(path, None, SPANS), work=identity, sample_rate=RATE)
    for x, (start, end) in zip(found, SPANS, strict=True):
        np.testing.assert_allclose(x, whole[round(start * RATE) : round(end * RATE)], rtol=0, atol=1e-6)
    [(_, half)] = audio.load_stretches(path, SPANS[:1], RATE // 2)
    np.testing.assert_array_equal(half, audio.resample(found[0], RATE, RATE // 2))
    with audio._opened(path) as sound:
        assert (sound.read_at is not None) == (name in SOUGHT)


def test_seeking_reads_what_it_needs(signal: np.ndarray, tmp_path: Path) -> None:
    """Damage elsewhere does not matter, damage in a stretch and samples that are none are told."""
    path = tmp_path / "x.wav"
    bad = signal.copy()
    bad[10 * RATE] = np.nan
    soundfile.write(path, bad, RATE, subtype="FLOAT")
    first = np.mean(signal[: 2 * RATE], axis=1)
    np.testing.assert_array_equal(each(Sound(path, None, [(0, 2)]), work=identity, sample_rate=RATE)[0], first)
    with pytest.raises(audio.AudioError, match="NaN or infinite samples"):
        each(Sound(path, None, [(0, 2), (9.5, 11)]), work=identity, sample_rate=RATE)


def test_clips_are_read_by_recording_in_their_order(signal: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", signal, RATE, subtype="FLOAT")
    rows = [("a.wav", 100, 900, 5.0, 6.0), ("a.wav", 0, 400, 1.0, 2.0), ("gone.wav", 0, 0, 0.0, 1.0)]
    table = pd.DataFrame(rows, columns=["path", "start", "end", "from_s", "to_s"])
    one, gone = sounds(table, tmp_path)
    assert str(one) == str(tmp_path / "a.wav")
    mono = signal.mean(axis=1)
    work = partial(each, work=identity, sample_rate=RATE)
    for x, expected in zip(work(one), (mono[5 * RATE + 100 :][:800], mono[RATE:][:400]), strict=True):
        np.testing.assert_array_equal(x, expected)
    assert [len(x) for x in work(gone)] == [0]  # a test clip that cannot be read
    files = sounds(table.drop(columns=["from_s", "to_s"]), tmp_path)
    assert [sound.intervals for sound in files] == [[(100, 900)], [(0, 400)], [(0, 0)]]
    np.testing.assert_array_equal(work(files[0])[0], mono[100:900])
    [whole] = sounds(table.iloc[:1].drop(columns=["from_s", "to_s"]), tmp_path, trimmed=False)
    np.testing.assert_array_equal(work(whole)[0], mono)
