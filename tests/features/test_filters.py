"""Filter banks: equal to librosa's to the last bit."""

import librosa
import numpy as np
import pytest

from fsat.features import filters

TUNINGS = np.arange(-50, 50) / 100


@pytest.mark.filterwarnings("ignore:Empty filters detected")
@pytest.mark.parametrize("sample_rate", [16000, 22050, 44100, 96000])
@pytest.mark.parametrize(("n_fft", "n_mels"), [(1764, 64), (2048, 128), (512, 64), (2001, 40)])
def test_mel_bank_is_librosas(sample_rate: int, n_fft: int, n_mels: int) -> None:
    ours = filters.mel_bank(sample_rate, n_fft, n_mels)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels))


def test_mel_scale_is_slaneys() -> None:
    """Linear to 1 kHz, which is mel 15; 27 steps further is 6.4 kHz."""
    np.testing.assert_allclose(filters._mel_to_hz(np.array([0.0, 3, 15, 42])), [0, 200, 1000, 6400])
    for hz in (0.0, 200.0, 1000.0, 6400.0):
        assert filters._mel_to_hz(np.array([filters._hz_to_mel(hz)]))[0] == pytest.approx(hz)


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


def test_tonnetz_basis_is_three_circles() -> None:
    basis = filters.tonnetz_basis().reshape(12, 3, 2)
    np.testing.assert_allclose(np.linalg.norm(basis, axis=2), np.tile([1, 1, 0.5], (12, 1)))
