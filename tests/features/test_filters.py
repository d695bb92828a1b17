"""Filter banks: Kaldi's mel bands by definition; pitch classes and wavelets equal to librosa's to the last bit."""

from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest

from fsat.core.errors import FsatError
from fsat.features import filters, mel_bank
from fsat.features.mel_bank import Purpose
from stages.filters import bank_for

TUNINGS = np.arange(-50, 50) / 100


def test_bands_of_style_kaldi_overlap_to_height_one() -> None:
    """On HTK's scale, up to 15 kHz: between the centres of two bands their weights sum to 1."""
    purpose = Purpose("kaldi", 32_000, 1024, 128)
    bank, bins = bank_for(purpose), np.arange(513) * 32_000 / 1024
    edges = 700 * (np.exp(np.linspace(0, np.log1p(15_000 / 700), 130)) - 1)
    inside = (bins >= edges[1]) & (bins <= edges[-2])
    np.testing.assert_allclose(bank.sum(axis=1)[inside], 1, atol=1e-6)
    assert not bank[bins >= edges[-1]].any()
    np.testing.assert_allclose(bins[bank[:, 100:].argmax(axis=0)], edges[101:-1], atol=32_000 / 1024)


def test_filters_for_another_purpose_are_refused(tmp_path: Path) -> None:
    purpose, path = Purpose("librosa", 22050, 64, 4), tmp_path / "mel.npz"
    bank = bank_for(purpose)
    mel_bank.write(path, bank, purpose)
    np.testing.assert_array_equal(mel_bank.dense(mel_bank.read(path, purpose), bank.shape), bank)
    for change in ({"style": "kaldi"}, {"sample_rate": 44100}, {"n_fft": 65}, {"n_mels": 5}):
        with pytest.raises(FsatError, match=r"mel\.npz: holds mel filters for \{.*\}, not for \{.*\}. Run `dvc repro`"):
            mel_bank.read(path, purpose._replace(**change))


@pytest.mark.parametrize(
    "damage", [lambda bank: bank[:3], lambda bank: bank.astype(float), lambda bank: bank * np.nan, np.negative]
)
def test_what_are_no_filters_is_refused(damage: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    purpose = Purpose("librosa", 22050, 64, 4)
    mel_bank.write(tmp_path / "mel.npz", damage(bank_for(purpose)), purpose)
    with pytest.raises(FsatError, match=r"mel\.npz: has no mel filters of shape \(33, 4\)"):
        mel_bank.read(tmp_path / "mel.npz", purpose)


@pytest.mark.parametrize(("sample_rate", "n_fft"), [(44100, 2048), (48000, 1024), (44100, 2001)])
def test_chroma_bank_is_librosas(sample_rate: int, n_fft: int) -> None:
    for tuning in TUNINGS:
        ours = filters.chroma_bank(sample_rate, n_fft, tuning)
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, librosa.filters.chroma(sr=sample_rate, n_fft=n_fft, tuning=tuning))


@pytest.mark.parametrize("rate", [22050.0, 24000.0])
def test_wavelets_are_librosas(rate: float) -> None:
    ratio = 2 ** (2 / 36)
    alpha = (ratio - 1) / (ratio + 1)
    for tuning in TUNINGS:
        freqs_hz = filters.FMIN_HZ * 2 ** ((tuning + np.arange(216, 252)) / 36)
        expected, lengths = librosa.filters.wavelet(freqs=freqs_hz, sr=rate, alpha=alpha)
        np.testing.assert_array_equal(filters._wavelets(freqs_hz, lengths, rate), expected)


def test_constant_q_bank() -> None:
    bank = filters.cqt_bank(22050.0, 0.0)
    expected = librosa.filters.cq_to_chroma(36, bins_per_octave=36).T
    np.testing.assert_array_equal(bank.to_chroma, expected)
    assert bank.filters.dtype == np.complex64 and bank.scales.dtype == np.float32
    assert bank.scales.shape == (7, 36)
    # Each filter answers its own frequency most.
    hz = filters.FMIN_HZ * 2 ** (np.arange(216, 252) / 36)
    strongest = (bank.bins.start + np.abs(bank.filters).argmax(axis=0)) * 22050 / bank.n_fft
    np.testing.assert_allclose(strongest, hz, atol=22050 / bank.n_fft)
