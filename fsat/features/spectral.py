"""The 1133 statistics of a signal: how its spectrum, envelope and waveform are spread over time.

This module computes the statistics over time of the rows of a spectrogram and of what is derived from one; `waveform`
computes those of the envelope, the mean spectrum and the waveform, `harmonic` the tonal centroids.
Spectrograms are (n_frames, n_bins): time first. They are computed in blocks of frames; only what is kept of each frame
(about 200 numbers) grows with the signal. Names, order and definitions: docs/RECIPE.md, section 2.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft

from fsat.core.errors import FsatError
from fsat.features import decibels, filters, harmonic, mel_bank, waveform
from fsat.features.filters import N_CHROMA
from fsat.features.mel_bank import SPECTRAL_MELS, BandGroup
from fsat.features.stft import Stft, blocks, frame_count

CONTRAST_BANDS, CONTRAST_FMIN_HZ, CONTRAST_QUANTILE = 6, 200.0, 0.02
ROLLOFF_SHARE = 0.85
ROW_STATISTICS = ("mean", "std", "skew", "max", "min")
_ROWS = 16  # rows whose statistics are computed at a time


def feature_names(*, n_mfcc: int) -> list[str]:
    """Names of what `spectral_statistics` returns, in its order: ``feature_row_statistic``."""
    rows = {"logmel": SPECTRAL_MELS, "mfcc": n_mfcc, "chroma": N_CHROMA, "contrast": CONTRAST_BANDS + 1}
    rows |= {"rolloff": 1, "centroid": 1, "bandwidth": 1, "tonnetz": 6, "zcr": 1}
    over_time = [
        f"{feature}_{row:03d}_{statistic}"
        for feature, n_rows in rows.items()
        for statistic in ROW_STATISTICS
        for row in range(n_rows)
    ]
    return over_time + waveform.feature_names()


def spectral_statistics(
    x: np.ndarray, *, sample_rate: int, n_fft: int, hop_length: int, n_mfcc: int, bank: Sequence[BandGroup]
) -> np.ndarray:
    """Return the statistics of a signal (docs/RECIPE.md, section 2), named by `feature_names`.

    Returns float64 (933 + 5 * n_mfcc,): 1133 numbers with 40 MFCC, all finite. A signal shorter than a window uses what
    it has; what is not defined, as is everything of an empty signal, is 0. `FsatError` if `sample_rate` or `n_fft` is
    too low for the bands of the spectral contrast.

    Parameters
    ----------
    x : np.ndarray [shape=(n,), dtype=float32]
        The signal at `sample_rate`, at least 25,600 Hz, so that all bands of the spectral contrast exist.
    n_fft, hop_length : int
        Length of a frame (Hann window) and step between frames, in samples.
    bank : sequence of BandGroup
        The mel filters.
    """
    _check(sample_rate, n_fft)
    if len(x) == 0:
        return np.zeros(len(feature_names(n_mfcc=n_mfcc)))
    transform = Stft(x, n_fft, hop_length)
    features = [
        *_of_spectrum(transform, sample_rate=sample_rate, n_mfcc=n_mfcc, bank=bank),
        _row_statistics(harmonic.tonnetz(transform, sample_rate=sample_rate)),
        _row_statistics(_zero_crossing_rate(x, n_fft, hop_length)),
    ]
    return np.concatenate([*features, waveform.statistics(x)])


def _of_spectrum(transform: Stft, *, sample_rate: int, n_mfcc: int, bank: Sequence[BandGroup]) -> list[np.ndarray]:
    """`_row_statistics` of log-mel, MFCC, chroma, contrast, roll-off, centroid and bandwidth."""
    n_fft, n = transform.n_fft, transform.n_frames
    mel_filters = mel_bank.dense(bank, (1 + n_fft // 2, SPECTRAL_MELS))
    mel = np.empty((n, SPECTRAL_MELS), dtype=np.float32)
    peak, valley = np.empty((n, CONTRAST_BANDS + 1)), np.empty((n, CONTRAST_BANDS + 1))
    frequencies_hz = np.empty((n, 3))  # roll-off, centroid, bandwidth
    for (first, end), magnitude in zip(blocks(n), transform.magnitudes(), strict=True):
        block = slice(first, end)
        mel[block] = magnitude**2 @ mel_filters
        peak[block], valley[block] = _extremes(magnitude, sample_rate, n_fft)
        frequencies_hz[block] = _rolloff_centroid_bandwidth(magnitude, sample_rate, n_fft)
    log_mel = decibels.power_to_db(mel)
    del mel
    contrast = decibels.power_to_db(peak) - decibels.power_to_db(valley)
    return [
        _row_statistics(log_mel),
        _row_statistics(_mfcc(log_mel, n_mfcc)),
        _row_statistics(_chroma(transform, sample_rate)),
        _row_statistics(contrast),
        *(_row_statistics(column[:, None]) for column in frequencies_hz.T),
    ]


def _check(sample_rate: int, n_fft: int) -> None:
    """Refuse what leaves a band of the spectral contrast without a bin."""
    lowest = int(2 * CONTRAST_FMIN_HZ * 2**CONTRAST_BANDS)
    if sample_rate < lowest:
        raise FsatError(
            f"audio.sample_rate must be at least {lowest} Hz for the spectral statistics. Got {sample_rate}."
        )
    shortest = int(np.ceil(sample_rate / CONTRAST_FMIN_HZ))
    if n_fft < shortest:
        raise FsatError(f"spectral.n_fft must be at least {shortest} samples at {sample_rate} Hz. Got {n_fft}.")


def _row_statistics(frames: np.ndarray) -> np.ndarray:
    """All means, then all std, skews, maxima and minima over time: (n_frames, n_rows) -> float64 (5 * n_rows,)."""
    groups = [_statistics_of_rows(frames[:, first : first + _ROWS].T) for first in range(0, frames.shape[1], _ROWS)]
    return np.concatenate(groups, axis=1).ravel()


def _statistics_of_rows(rows: np.ndarray) -> np.ndarray:
    """Mean, std, skew, maximum and minimum of each row: (n_rows, n_frames) -> float64 (5, n_rows)."""
    low, high = rows.min(axis=1), rows.max(axis=1)
    # Less the minimum: a constant row is exactly 0, and small deviations are not lost in the rounding of the mean.
    above = np.ascontiguousarray(rows - low[:, None])
    mean = above.mean(axis=1)
    deviation = np.subtract(above, mean[:, None], out=above)
    square = deviation**2
    variance = square.mean(axis=1)
    third = np.multiply(square, deviation, out=deviation).mean(axis=1)
    # As scipy.stats.skew, in the precision of the rows: what deviates by no more than rounding has no skew.
    mean += low
    defined = variance > (np.finfo(rows.dtype).eps * mean) ** 2
    skew = np.divide(third, variance**1.5, out=np.zeros_like(third), where=defined)
    return np.stack([mean, np.sqrt(variance), skew, high, low]).astype(np.float64)


def _mfcc(log_mel: np.ndarray, n_mfcc: int) -> np.ndarray:
    """Cosine transform of each frame's log-mel bands: (n_frames, 128) -> (n_frames, n_mfcc)."""
    parts = [scipy.fft.dct(log_mel[a:b], axis=1, norm="ortho")[:, :n_mfcc] for a, b in blocks(len(log_mel))]
    return np.concatenate(parts)


def _chroma(transform: Stft, sample_rate: int) -> np.ndarray:
    """Strength of the twelve pitch classes, the strongest of a frame 1: (n_frames, 12)."""
    n_fft = transform.n_fft
    tuning = harmonic.tuning(transform.magnitudes(), sample_rate=sample_rate, n_fft=n_fft, bins_per_octave=N_CHROMA)
    bank = _chroma_bank(sample_rate, n_fft, tuning)
    return harmonic.normalize(np.concatenate([magnitude @ bank for magnitude in transform.magnitudes()]), np.inf)


def _extremes(magnitude: np.ndarray, sample_rate: int, n_fft: int) -> tuple[np.ndarray, np.ndarray]:
    """Peak and valley of each octave band (Jiang et al. 2002): (n_frames, n_bins) -> two of (n_frames, n_bands)."""
    bands = _contrast_bands(sample_rate, n_fft)
    peak = np.empty((len(magnitude), len(bands)))
    valley = np.empty_like(peak)
    for band, (first, end, n_extreme) in enumerate(bands):
        ordered = np.sort(magnitude[:, first:end], axis=1)
        valley[:, band] = ordered[:, :n_extreme].mean(axis=1)
        peak[:, band] = ordered[:, -n_extreme:].mean(axis=1)
    return peak, valley


@lru_cache(maxsize=1)
def _contrast_bands(sample_rate: int, n_fft: int) -> list[tuple[int, int, int]]:
    """First bin, end and number of extreme bins of each band, as `librosa.feature.spectral_contrast` has them."""
    freq = _bin_hz(sample_rate, n_fft)
    edges = [0.0, *(CONTRAST_FMIN_HZ * 2.0 ** np.arange(CONTRAST_BANDS + 1))]
    bands = []
    for band in range(CONTRAST_BANDS + 1):
        inside = np.flatnonzero((freq >= edges[band]) & (freq <= edges[band + 1]))
        # A band begins with the last bin of the one below; the last band takes all that is above.
        first = int(inside[0]) - (band > 0)
        last = band == CONTRAST_BANDS
        end = len(freq) if last else int(inside[-1]) + 1
        n_extreme = max(1, int(np.rint(CONTRAST_QUANTILE * (end - first))))
        bands.append((first, end if last else end - 1, n_extreme))
    return bands


def _rolloff_centroid_bandwidth(magnitude: np.ndarray, sample_rate: int, n_fft: int) -> np.ndarray:
    """Frequency in Hz below which 85 % of the magnitude lies, its centre and its spread: (n_frames, 3)."""
    freq = _bin_hz(sample_rate, n_fft)
    cumulative = np.cumsum(magnitude, axis=1)
    below = cumulative < np.float32(ROLLOFF_SHARE) * cumulative[:, -1:]
    rolloff = freq[np.count_nonzero(below, axis=1)]
    # (n_frames, 3): sums of magnitude times 1, frequency, frequency squared; float64, as the variance is a difference.
    total, first, second = (magnitude.astype(np.float64) @ np.vander(freq, 3, increasing=True)).T
    loud = total > np.finfo(np.float32).tiny
    centroid = np.divide(first, total, out=np.zeros_like(total), where=loud)
    variance = np.divide(second, total, out=np.zeros_like(total), where=loud) - centroid**2
    return np.stack([rolloff, centroid, np.sqrt(np.maximum(variance, 0))], axis=1)


def _zero_crossing_rate(x: np.ndarray, n_fft: int, hop_length: int) -> np.ndarray:
    """Share of the samples of a centred frame at which the sign changes: (n_frames, 1)."""
    n_frames = frame_count(len(x), n_fft, hop_length)
    counts = np.empty(n_frames, dtype=np.int64)
    for start, stop in blocks(n_frames):
        starts = np.arange(start, stop) * hop_length - n_fft // 2
        origin, limit = max(0, int(starts[0])), min(len(x), int(starts[-1]) + n_fft)
        negative = x[origin:limit] < -1e-10
        crossings = np.zeros(len(negative) + 1, dtype=np.int64)  # crossings[i]: how many in front of sample i
        np.cumsum(negative[1:] != negative[:-1], out=crossings[2:])
        # The first sample of a frame has no sample before it in the frame.
        first, end = np.clip(starts + 1, origin, limit) - origin, np.clip(starts + n_fft, origin, limit) - origin
        counts[start:stop] = crossings[end] - crossings[first]
    return (counts / n_fft)[:, None]


def _bin_hz(sample_rate: int, n_fft: int) -> np.ndarray:
    return np.fft.rfftfreq(n_fft, 1 / sample_rate)


@lru_cache(maxsize=128)  # there are 100 tunings
def _chroma_bank(sample_rate: int, n_fft: int, tuning: float) -> np.ndarray:
    """Weights of the bins in the pitch classes: float32 (n_bins, 12)."""
    return np.ascontiguousarray(filters.chroma_bank(sample_rate, n_fft, tuning).T)
