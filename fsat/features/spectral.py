"""The 1133 statistics of a signal: how its spectrum, envelope and waveform are spread over time.

Here are the statistics over time of the rows of a spectrogram and of what follows from one; the numbers of the
envelope, the mean spectrum and the waveform are in `waveform`, the tonal centroids in `harmonic`.
One short-time Fourier transform serves them all. Spectrograms are (n_frames, n_bins): time first.
Names, order and definitions: docs/RECIPE.md, section 2.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft

from fsat.clips import audio
from fsat.core.errors import FsatError
from fsat.features import harmonic, waveform

N_MELS = 128
N_CHROMA = 12
CONTRAST_BANDS, CONTRAST_FMIN_HZ, CONTRAST_QUANTILE = 6, 200.0, 0.02
ROLLOFF_SHARE = 0.85
ROW_STATISTICS = ("mean", "std", "skew", "max", "min")
_AMIN, _TOP_DB = 1e-10, 80.0  # of power_to_db, librosa's defaults


def feature_names(*, n_mfcc: int) -> list[str]:
    """Names of what `spectral_statistics` returns, in its order: ``feature_row_statistic``."""
    rows = {
        "logmel": N_MELS,
        "mfcc": n_mfcc,
        "chroma": N_CHROMA,
        "contrast": CONTRAST_BANDS + 1,
        "rolloff": 1,
        "centroid": 1,
        "bandwidth": 1,
        "tonnetz": 6,
        "zcr": 1,
    }
    over_time = [
        f"{feature}_{row:03d}_{statistic}"
        for feature, n_rows in rows.items()
        for statistic in ROW_STATISTICS
        for row in range(n_rows)
    ]
    return over_time + waveform.feature_names()


def clip_statistics(
    clip: tuple[str | Path, int, int], *, sample_rate: int, n_fft: int, hop_length: int, n_mfcc: int
) -> np.ndarray:
    """Read samples `start` to `end` of a clip ``(path, start, end)`` and return their `spectral_statistics`."""
    x = audio.load_interval(*clip, sample_rate)
    return spectral_statistics(x, sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length, n_mfcc=n_mfcc)


def spectral_statistics(x: np.ndarray, *, sample_rate: int, n_fft: int, hop_length: int, n_mfcc: int) -> np.ndarray:
    """Return the statistics of a signal (docs/RECIPE.md, section 2), named by `feature_names`.

    Parameters
    ----------
    x : np.ndarray [shape=(n,), dtype=float32]
    sample_rate : int
        In Hz; at least 25,600, so that all bands of the spectral contrast exist.
    n_fft, hop_length : int
        Length of a frame (Hann window) and step between frames, in samples.
    n_mfcc : int

    Returns
    -------
    np.ndarray [shape=(933 + 5 * n_mfcc,), dtype=float64]
        1133 numbers with 40 MFCC, all finite. A signal shorter than a window uses what it has; what is not defined,
        as is everything of an empty signal, is 0.

    Raises
    ------
    FsatError
        If `sample_rate` or `n_fft` is too low for the bands of the spectral contrast.
    """
    _check(sample_rate, n_fft)
    if len(x) == 0:
        return np.zeros(len(feature_names(n_mfcc=n_mfcc)))
    spectrum = harmonic.stft(x, n_fft, hop_length)  # (n_frames, 1 + n_fft // 2)
    magnitude = np.abs(spectrum)
    log_mel = _power_to_db(magnitude**2 @ _mel_bank(sample_rate, n_fft))
    features = [
        log_mel,
        scipy.fft.dct(log_mel, axis=1, norm="ortho")[:, :n_mfcc],
        _chroma(magnitude, sample_rate, n_fft),
        _contrast(magnitude, sample_rate, n_fft),
        *_rolloff_centroid_bandwidth(magnitude, sample_rate, n_fft),
        harmonic.tonnetz(spectrum, magnitude, len(x), sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length),
        _zero_crossing_rate(x, n_fft, hop_length),
    ]
    over_time = [_row_statistics(rows) for rows in features]
    return np.concatenate([*over_time, waveform.statistics(x)])


def _check(sample_rate: int, n_fft: int) -> None:
    """Refuse what leaves a band of the spectral contrast without a bin."""
    lowest_rate = int(2 * CONTRAST_FMIN_HZ * 2**CONTRAST_BANDS)
    if sample_rate < lowest_rate:
        message = f"audio.sample_rate must be at least {lowest_rate} Hz for the spectral statistics. Got {sample_rate}."
        raise FsatError(message)
    shortest = int(np.ceil(sample_rate / CONTRAST_FMIN_HZ))
    if n_fft < shortest:
        message = f"spectral.n_fft must be at least {shortest} samples at {sample_rate} Hz. Got {n_fft}."
        raise FsatError(message)


def _row_statistics(frames: np.ndarray) -> np.ndarray:
    """All means, then all std, skews, maxima and minima over time: (n_frames, n_rows) -> float64 (5 * n_rows,)."""
    rows = np.ascontiguousarray(frames.T)
    high, low = rows.max(axis=1), rows.min(axis=1)
    mean = rows.mean(axis=1, keepdims=True)
    deviation = rows - mean
    square = deviation**2
    variance = square.mean(axis=1)
    third = np.multiply(square, deviation, out=deviation).mean(axis=1)
    # As scipy.stats.skew, in the precision of the rows: what deviates by no more than rounding has no skew. A log-mel
    # band at its floor may deviate by a little more and then has a skew of 1 or -1, as in the reference figures.
    defined = variance > (np.finfo(rows.dtype).eps * mean[:, 0]) ** 2
    if (high == low).all():
        defined[:] = False
    skew = np.divide(third, variance**1.5, out=np.zeros_like(third), where=defined)
    std = np.where(high == low, 0, np.sqrt(variance))
    return np.concatenate([mean[:, 0], std, skew, high, low], dtype=np.float64)


def _power_to_db(power: np.ndarray) -> np.ndarray:
    """Decibels relative to 1, cut off 80 dB below the maximum."""
    db = 10 * np.log10(np.maximum(power, _AMIN))
    return np.maximum(db, db.max() - _TOP_DB)


def _chroma(magnitude: np.ndarray, sample_rate: int, n_fft: int) -> np.ndarray:
    """Strength of the twelve pitch classes, the strongest of a frame 1: (n_frames, n_bins) -> (n_frames, 12)."""
    tuning = harmonic.tuning(magnitude, sample_rate=sample_rate, n_fft=n_fft, bins_per_octave=N_CHROMA)
    return harmonic.normalize(magnitude @ _chroma_bank(sample_rate, n_fft, tuning), np.inf)


def _contrast(magnitude: np.ndarray, sample_rate: int, n_fft: int) -> np.ndarray:
    """Peak against valley in octave bands, in dB (Jiang et al. 2002): (n_frames, n_bins) -> (n_frames, n_bands)."""
    bands = _contrast_bands(sample_rate, n_fft)
    peak = np.empty((len(magnitude), len(bands)))
    valley = np.empty_like(peak)
    for band, (first, end, n_extreme) in enumerate(bands):
        ordered = np.sort(magnitude[:, first:end], axis=1)
        valley[:, band] = ordered[:, :n_extreme].mean(axis=1)
        peak[:, band] = ordered[:, -n_extreme:].mean(axis=1)
    return _power_to_db(peak) - _power_to_db(valley)


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


def _rolloff_centroid_bandwidth(magnitude: np.ndarray, sample_rate: int, n_fft: int) -> list[np.ndarray]:
    """Three features in Hz, each (n_frames, 1): where 85 % of the magnitude lies below, its centre and its spread."""
    freq = _bin_hz(sample_rate, n_fft)
    cumulative = np.cumsum(magnitude, axis=1)
    below = cumulative < np.float32(ROLLOFF_SHARE) * cumulative[:, -1:]
    rolloff = freq[np.count_nonzero(below, axis=1)]
    # (n_frames, 3): sums of magnitude times 1, frequency, frequency squared; float64, as the variance is a difference.
    total, first, second = (magnitude.astype(np.float64) @ np.vander(freq, 3, increasing=True)).T
    loud = total > np.finfo(np.float32).tiny
    centroid = np.divide(first, total, out=np.zeros_like(total), where=loud)
    variance = np.divide(second, total, out=np.zeros_like(total), where=loud) - centroid**2
    return [rolloff[:, None], centroid[:, None], np.sqrt(np.maximum(variance, 0))[:, None]]


def _zero_crossing_rate(x: np.ndarray, n_fft: int, hop_length: int) -> np.ndarray:
    """Share of the samples of a centred frame at which the sign changes: (n_frames, 1)."""
    negative = x < -1e-10
    crossings = np.zeros(len(x) + 1, dtype=np.int64)  # crossings[i]: how many in front of sample i
    np.cumsum(negative[1:] != negative[:-1], out=crossings[2:])
    n_frames = 1 + (len(x) + 2 * (n_fft // 2) - n_fft) // hop_length
    starts = np.arange(n_frames) * hop_length - n_fft // 2
    # The first sample of a frame has no sample before it in the frame.
    first = np.clip(starts + 1, 0, len(x))
    end = np.clip(starts + n_fft, 0, len(x))
    return ((crossings[end] - crossings[first]) / n_fft)[:, None]


def _bin_hz(sample_rate: int, n_fft: int) -> np.ndarray:
    return np.fft.rfftfreq(n_fft, 1 / sample_rate)


@lru_cache(maxsize=1)
def _mel_bank(sample_rate: int, n_fft: int) -> np.ndarray:
    """Slaney's mel filters: float32 (n_bins, 128)."""
    from librosa.filters import mel  # takes a second to import: only who computes pays for it

    return np.ascontiguousarray(mel(sr=sample_rate, n_fft=n_fft, n_mels=N_MELS).T)


@lru_cache(maxsize=128)  # there are 100 tunings
def _chroma_bank(sample_rate: int, n_fft: int, tuning: float) -> np.ndarray:
    """Weights of the bins in the pitch classes: float32 (n_bins, 12)."""
    from librosa.filters import chroma

    return np.ascontiguousarray(chroma(sr=sample_rate, n_fft=n_fft, tuning=tuning, n_chroma=N_CHROMA).T)
