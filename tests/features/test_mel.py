"""Log-mel spectrograms."""

from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest

from fsat import presets
from fsat.clips import audio
from fsat.core import params
from fsat.core.mel_styles import MEL_STYLES
from fsat.features import mel, mel_bank
from shared_data import SHARED, needs
from stages.filters import bank_for

ROOT = Path(__file__).parents[2]
RATE = 44_100
RECIPE = presets.read("fsdkaggle2018", ROOT / "presets").mel
AUDIOSET = params.Mel(sample_rate=32_000, n_fft=1024, hop_length=320, n_mels=128, style="kaldi")


def recipe(**changes: object) -> params.Mel:
    return params.Mel.model_validate(RECIPE.model_dump() | changes)


def log_mel(x: np.ndarray, p: params.Mel = RECIPE, *, sample_rate: int = RATE) -> np.ndarray:
    return mel.log_mel(x, sample_rate=sample_rate, settings=p, bank=mel_bank.grouped(bank_for(mel_bank.for_mel(p))))


def librosa_log_mel(x: np.ndarray, p: params.Mel) -> np.ndarray:
    y = librosa.resample(x, orig_sr=RATE, target_sr=p.sample_rate)
    power = librosa.feature.melspectrogram(
        y=y, sr=p.sample_rate, n_fft=p.n_fft, hop_length=p.hop_length, n_mels=p.n_mels
    )
    return librosa.power_to_db(power)


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large")
@pytest.mark.parametrize("n", [1, 2, 439, 440, 441, 3527, 3528, 3529, 50_000])
@pytest.mark.parametrize(
    "changed",
    [{}, {"n_fft": 1024, "hop_length": 300, "n_mels": 40}, {"sample_rate": 44100}],
)
def test_equals_librosa(n: int, changed: dict[str, float]) -> None:
    p = recipe(**changed)
    ours = log_mel(noise(n), p)
    expected = librosa_log_mel(noise(n), p)
    assert ours.dtype == np.float32
    assert ours.shape == expected.T.shape
    np.testing.assert_allclose(ours, expected.T, atol=1e-3)


def test_weak_bands_beside_a_loud_tone_are_resolved() -> None:
    """A float32 transform alone is off by 7e-4 dB here, and by more than 1e-3 dB in some real clips."""
    time_s = np.arange(88200) / 44100
    hiss = 1e-5 * np.random.default_rng(0).normal(size=88200)
    x = (np.sin(2 * np.pi * 200 * time_s) + hiss).astype(np.float32)
    np.testing.assert_allclose(log_mel(x), librosa_log_mel(x, RECIPE).T, atol=1e-4)


def test_silence_is_the_floor_alone_and_80_db_below_a_sound() -> None:
    for n, n_frames in ((0, 1), (1, 1), (44100, 101)):
        db = log_mel(np.zeros(n, dtype=np.float32))
        assert db.shape == (n_frames, 64)
        np.testing.assert_allclose(db, -100, atol=1e-4)
    db = log_mel(np.concatenate([noise(20_000), np.zeros(20_000, dtype=np.float32)]))
    assert db.max() - db.min() == pytest.approx(80, abs=1e-4)  # top_db


@needs("reference/mels.npz")
@needs("fsdkaggle2018_slice")
def test_real_clips_equal_the_reference() -> None:
    paths = {path.name: path for path in (SHARED / "fsdkaggle2018_slice").glob("*/*.wav")}
    trimmed = pd.read_csv(SHARED / "reference/trim.csv").set_index("fname")
    reference = np.load(SHARED / "reference/mels.npz", allow_pickle=False)
    for fname in reference.files:
        start, end = trimmed.loc[fname, ["start", "end"]].astype(int)
        ours = log_mel(audio.load_interval(paths[fname], start, end, RATE))
        np.testing.assert_allclose(ours.T, reference[fname], atol=1e-3, err_msg=fname)
    assert len(reference.files) == 25


@needs("reference/efficientat_mn04_as.npz")
def test_the_front_end_of_efficientat_equals_the_published_one() -> None:
    reference = np.load(SHARED / "reference" / "efficientat_mn04_as.npz")
    names = [name.removesuffix("/wave_32k") for name in reference.files if name.endswith("/wave_32k")]
    assert len(names) == 6
    low, high = MEL_STYLES[AUDIOSET.style].limits
    for name in names:
        found = log_mel(reference[f"{name}/wave_32k"], AUDIOSET, sample_rate=32_000)
        scaled = (found - low) / (high - low)
        np.testing.assert_allclose(scaled.T, reference[f"{name}/log_mel"], atol=2e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 700, 1025])
def test_short_signals_have_frames_in_the_front_end_of_efficientat(n: int) -> None:
    found = log_mel(noise(n), AUDIOSET, sample_rate=32_000)
    assert found.shape[1] == 128 and len(found) >= 1 and np.isfinite(found).all()
