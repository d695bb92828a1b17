"""The 1133 statistics by plain per-clip librosa, SciPy and NumPy calls, written straight from docs/RECIPE.md.

Nothing here is fast: it is what `fsat.features.spectral` is compared with, for its numbers and for its time.
"""

import itertools
from typing import Any

import librosa
import numpy as np
import scipy.stats

BLOCK = 2000
LEVELS = (0.1, 0.2, 0.5, 0.9, 0.99)


def spectral_statistics(x: np.ndarray, *, sample_rate: int = 44100, n_mfcc: int = 40) -> np.ndarray:
    """Return the statistics of a clip of at least 2100 samples, float64 (1133,), n_fft 2048 and hop_length 512."""
    groups: list[Any] = [*_row_statistics(x, sample_rate, n_mfcc), _envelope(x), _mean_spectrum(x), _waveform(x)]
    return np.concatenate([np.ravel(group) for group in groups])


def _row_statistics(x: np.ndarray, sample_rate: int, n_mfcc: int) -> list[list[np.ndarray]]:
    magnitude = np.abs(librosa.stft(x))
    log_mel = librosa.power_to_db(librosa.feature.melspectrogram(S=magnitude**2, sr=sample_rate))
    features = [
        log_mel,
        librosa.feature.mfcc(S=log_mel, n_mfcc=n_mfcc),
        librosa.feature.chroma_stft(S=magnitude, sr=sample_rate),
        librosa.feature.spectral_contrast(S=magnitude, sr=sample_rate),
        librosa.feature.spectral_rolloff(S=magnitude, sr=sample_rate),
        librosa.feature.spectral_centroid(S=magnitude, sr=sample_rate),
        librosa.feature.spectral_bandwidth(S=magnitude, sr=sample_rate),
        librosa.feature.tonnetz(y=librosa.effects.harmonic(x), sr=sample_rate),
        librosa.feature.zero_crossing_rate(x),
    ]
    return [
        [rows.mean(1), rows.std(1), np.nan_to_num(scipy.stats.skew(rows, axis=1)), rows.max(1), rows.min(1)]
        for rows in features
    ]


def _runs(mask: np.ndarray) -> list[float]:
    lengths = [len(list(run)) for value, run in itertools.groupby(mask.tolist()) if value]
    if not lengths:
        return [0.0, 0.0, 0.0, 0.0]
    return [np.log1p(np.mean(lengths)), np.log1p(np.std(lengths)), np.log1p(np.max(lengths)), len(lengths)]


def _envelope(x: np.ndarray) -> list[float]:
    total = np.concatenate([np.zeros(1, x.dtype), np.cumsum(x**2)])
    envelope = (total[BLOCK:] - total[:-BLOCK]) / BLOCK
    peak = envelope.max()
    attack = int(np.flatnonzero(envelope > 0.99 * peak)[0])
    quiet = np.flatnonzero(envelope[attack:] < 0.2 * peak)
    relax = attack + int(quiet[0]) if len(quiet) else len(envelope)
    crossings = int(np.sum(x[1:] * x[:-1] <= 0))
    positions = [np.log1p(attack), np.log1p(relax), np.log1p(crossings), crossings / len(x)]
    return _runs(envelope > 0.05 * peak) + _runs(envelope > 0.25 * peak) + positions


def _mean_spectrum(x: np.ndarray) -> list[float]:
    blocks = [x[edge : edge + BLOCK] for edge in range(100, len(x), BLOCK) if edge + BLOCK < len(x)]
    m = np.log1p(np.mean([np.abs(np.fft.rfft(block))[:1000] for block in blocks], axis=0))
    bins = np.arange(len(m))
    peak = m.max()
    centre = np.sum(bins * m**2) / np.sum(m**2)
    shape = [centre, *(np.sum(m > level * peak) for level in LEVELS)]
    shape += [np.argmax(m), np.sum(m[:50] >= 0.5 * peak), np.sum(m[:50] >= 0.9 * peak)]
    for level in LEVELS:
        shape += _runs(m > level * peak)
    root_energy = np.sqrt(np.sum(m**2))
    shape += [*_quadratic(bins, m), np.sum(m), np.mean(m), root_energy, root_energy / len(m)]
    under = np.flatnonzero(m < 0.1 * peak)
    left = max([bin_ for bin_ in under if bin_ < np.argmax(m)], default=0)
    right = min([bin_ for bin_ in under if bin_ > np.argmax(m)], default=0)
    lobe = len(under) > 0 and right - left >= 3
    shape += _quadratic(bins[left:right], m[left:right]) if lobe else [0.0, 0.0, 0.0]
    return shape + [float(np.mean(m[start : start + 20])) for start in range(0, len(m) - 19, 40)]


def _quadratic(bins: np.ndarray, m: np.ndarray) -> list[float]:
    squared, linear, intercept = np.polyfit(bins, m, 2)
    return [linear, squared, intercept]


def _waveform(x: np.ndarray) -> list[float]:
    x = x.astype(np.float64)
    parts = [part for s in (x, np.abs(x), np.diff(x)) for n in (1, 2, 3) for part in np.array_split(s, n)]
    return [float(f(part)) for part in parts for f in (np.mean, np.std, np.min, np.max)]
