"""Filter banks of the spectral statistics: pitch classes, constant-Q wavelets, tonal centroids.

The numbers are those of librosa 0.11 to the last bit (the tests compare). They depend on the tuning of each clip, so
that the stage `filters` cannot make them; and librosa's wavelets are compiled for 25 s in every new environment.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft

N_CHROMA = 12
FMIN_HZ = 440 * 2 ** ((24 - 69) / 12)  # C1
N_OCTAVES, BINS_PER_OCTAVE = 7, 36
SPARSITY = 0.01  # share of a filter's magnitude that is dropped as too small

_DOMINANCE_OCTAVE, _DOMINANCE_WIDTH = 5.0, 2.0  # octaves above A0: a Gaussian weights the octaves of the pitch classes


def chroma_bank(sample_rate: int, n_fft: int, tuning: float) -> np.ndarray:
    """Weights of the bins of a spectrum in the twelve pitch classes, C first: float32 (12, 1 + n_fft // 2).

    Each bin is a Gaussian around its pitch, scaled to length 1 over the classes and weighted by its octave
    (D. P. W. Ellis, Chroma feature analysis and synthesis, 2007): `librosa.filters.chroma` with its defaults. `tuning`
    is the deviation from 440 Hz in semitones.
    """
    hz = np.linspace(0, sample_rate, n_fft, endpoint=False)[1:]
    a0_hz = 440.0 * 2.0 ** (tuning / N_CHROMA) / 16
    pitch = N_CHROMA * np.log2(hz / a0_hz)  # semitones above A0
    # The bin at 0 Hz has no pitch: it gets the one 1.5 octaves below that of its neighbour.
    pitch = np.concatenate([[pitch[0] - 1.5 * N_CHROMA], pitch])
    width = np.concatenate([np.maximum(np.diff(pitch), 1.0), [1.0]])
    half = N_CHROMA // 2
    distance = np.remainder(pitch - np.arange(N_CHROMA)[:, None] + half + 10 * N_CHROMA, N_CHROMA) - half
    weights = np.exp(-0.5 * (2 * distance / width) ** 2)  # (12, n_fft)
    weights /= np.sqrt(np.sum(weights**2, axis=0))
    weights *= np.exp(-0.5 * ((pitch / N_CHROMA - _DOMINANCE_OCTAVE) / _DOMINANCE_WIDTH) ** 2)
    # From A first to C first.
    return np.roll(weights, -3, axis=0)[:, : 1 + n_fft // 2].astype(np.float32)


class CqtBank(NamedTuple):
    """Constant-Q filters of the top octave in the frequency domain, and what brings the octaves together."""

    n_fft: int
    bins: slice  # the few the filters cover
    filters: np.ndarray  # complex64 (n_bins, 36)
    scales: np.ndarray  # float32 (7, 36), one row an octave from the top
    to_chroma: np.ndarray  # float32 (36, 12)


def cqt_bank(rate: float, tuning: float) -> CqtBank:
    """Filters of a constant-Q transform of seven octaves from C1, 36 bins an octave (Schoerkhuber & Klapuri 2010).

    `rate` is that of the signal to which the top octave's filters are applied, in Hz; `tuning` the deviation of the
    bins from the tempered scale, in bins.
    """
    n_bins = N_OCTAVES * BINS_PER_OCTAVE
    freqs_hz = FMIN_HZ * 2 ** ((tuning + np.arange(n_bins)) / BINS_PER_OCTAVE)
    ratio = 2 ** (2 / BINS_PER_OCTAVE)
    alpha = (ratio - 1) / (ratio + 1)  # bandwidth relative to frequency
    lengths = 1.0 / alpha * rate / freqs_hz  # samples
    top = slice(-BINS_PER_OCTAVE, None)
    wavelets = _wavelets(freqs_hz[top], lengths[top], rate)  # (36, n_fft)
    n_fft = wavelets.shape[1]
    spectra = scipy.fft.fft(wavelets * (lengths[top, None] / n_fft))[:, : n_fft // 2 + 1]
    spectra = _sparsified(spectra).astype(np.complex64)
    used = np.flatnonzero(spectra.any(axis=0))
    bins = slice(int(used[0]), int(used[-1]) + 1)
    # Every halving of the rate doubles the energy a filter sees; long filters collect more than short ones.
    octave_gain = 2.0 ** np.arange(N_OCTAVES)[:, None]
    scales = octave_gain / np.sqrt(lengths.reshape(N_OCTAVES, BINS_PER_OCTAVE)[::-1])
    filters = np.ascontiguousarray(spectra[:, bins].T)
    return CqtBank(n_fft, bins, filters, scales.astype(np.float32), _octave_to_chroma())


def _wavelets(freqs_hz: np.ndarray, lengths: np.ndarray, rate: float) -> np.ndarray:
    """Complex sinusoids under Hann windows, sum of magnitudes 1, centred in a power of two: complex64 (n, n_fft)."""
    n_fft = int(2.0 ** np.ceil(np.log2(lengths.max())))
    wavelets = np.zeros((len(freqs_hz), n_fft), dtype=np.complex64)
    for row, (hz, length) in enumerate(zip(freqs_hz, lengths, strict=True)):
        phase = np.arange(-length // 2, length // 2) * 2 * np.pi * hz / rate
        n = len(phase)
        wavelet = (np.cos(phase) + 1j * np.sin(phase)) * (0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, n + 1)[:-1]))
        before = (n_fft - n) // 2
        wavelets[row, before : before + n] = wavelet / np.abs(wavelet).sum()
    return wavelets


def _sparsified(rows: np.ndarray) -> np.ndarray:
    """Set the smallest values of each row to 0 that together make up less than `SPARSITY` of its sum of magnitudes."""
    size = np.abs(rows)
    ordered = np.sort(size, axis=1)
    share = np.cumsum(ordered, axis=1) / size.sum(axis=1, keepdims=True)
    first_kept = np.argmin(share < SPARSITY, axis=1)
    return np.where(size >= np.take_along_axis(ordered, first_kept[:, None], axis=1), rows, 0)


def _octave_to_chroma() -> np.ndarray:
    """Sum of the bins of an octave around each pitch class, C first: float32 (36, 12)."""
    n_merged = BINS_PER_OCTAVE // N_CHROMA
    classes = np.repeat(np.eye(N_CHROMA, dtype=np.float32), n_merged, axis=0)
    return np.roll(classes, -(n_merged // 2), axis=0)


def tonnetz_basis() -> np.ndarray:
    """Pitch classes on the circles of fifths, minor thirds and major thirds (Harte et al. 2006): float64 (12, 6)."""
    angle = np.outer(np.arange(N_CHROMA), [7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3])
    angle[:, ::2] -= 0.5
    return np.array([1, 1, 1, 1, 0.5, 0.5]) * np.cos(np.pi * angle)
