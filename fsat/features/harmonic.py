"""Tonal centroids of the harmonic part of a signal, and the tuning of its partials.

The chain of librosa's ``tonnetz(y=effects.harmonic(x))``: median filters keep what lasts in a spectrogram, a
constant-Q transform sorts it into twelve pitch classes, and those are laid out on the circles of fifths and thirds.
Spectrograms are (n_frames, n_bins): time first.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.lib.stride_tricks import sliding_window_view

from fsat.clips import audio

MEDIAN_WIDTH = 31  # frames and bins of the two median filters (Fitzgerald 2010)
FMIN_HZ = 440 * 2 ** ((24 - 69) / 12)  # C1
N_OCTAVES, BINS_PER_OCTAVE = 7, 36
CQT_HOP = 512
N_CHROMA = 12
SPARSITY = 0.01  # share of a filter's magnitude that is dropped as too small
TUNING_HZ = (150.0, 4000.0)
TUNING_STEP = 0.01
BLOCK_FRAMES, MASK_FRAMES = 64, 1024  # what is worked on at a time, so that long clips need little memory


def tonnetz(
    spectrum: np.ndarray, magnitude: np.ndarray, n: int, *, sample_rate: int, n_fft: int, hop_length: int
) -> np.ndarray:
    """Tonal centroids (Harte, Sandler & Gasser 2006) of the harmonic part of a signal.

    Parameters
    ----------
    spectrum : np.ndarray [shape=(n_frames, 1 + n_fft // 2), dtype=complex64]
        Its short-time Fourier transform, centred, Hann window.
    magnitude : np.ndarray
        Magnitude of `spectrum`.
    n : int >= 1
        Its length in samples.

    Returns
    -------
    np.ndarray [shape=(1 + n // 512, 6)]
    """
    factor = _decimation(sample_rate)
    mask = _harmonic_mask(magnitude, n_low=n_fft // 2 // factor, n_ends=-(-n_fft // 2 // hop_length))
    y = audio.resample(_istft(spectrum, mask, n, n_fft, hop_length), factor, 1)
    chroma = _chroma_cqt(y, sample_rate / factor, CQT_HOP // factor)
    return normalize(chroma, 1) @ _tonnetz_basis()


def tuning(magnitude: np.ndarray, *, sample_rate: float, n_fft: int, bins_per_octave: int) -> float:
    """Most frequent deviation of the partials from the tempered scale, in bins, -0.5 to 0.49; 0 where there are none.

    Partials are local maxima over 0.1 of their frame's maximum, at least as strong as the median one, with parabolic
    interpolation (`librosa.estimate_tuning`).
    """
    freq = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    low, high = np.searchsorted(freq, TUNING_HZ)
    s = magnitude[:, max(low, 1) - 1 : high + 1]
    left, centre, right = s[:, :-2], s[:, 1:-1], s[:, 2:]
    limit = np.float32(0.1) * magnitude.max(axis=1, keepdims=True)
    frame, bin_ = np.nonzero((centre > left) & (centre >= right) & (centre > limit))
    if len(frame) == 0:
        return 0.0
    a, b, c = left[frame, bin_], centre[frame, bin_], right[frame, bin_]
    curvature, slope = c + a - 2 * b, (c - a) / 2
    inside = np.abs(slope) < np.abs(curvature)
    shift = np.divide(-slope, curvature, out=np.zeros_like(slope), where=inside)
    strength = b + np.float32(0.5) * slope * shift
    pitch_hz = ((bin_ + max(low, 1) + shift) * float(sample_rate) / n_fft).astype(np.float32)
    strong = pitch_hz[strength >= np.median(strength)]
    octaves = np.log2(strong / np.float32(440 / 16))
    deviation = np.mod(bins_per_octave * octaves, 1.0)
    deviation[deviation >= 0.5] -= 1.0
    edges = np.linspace(-0.5, 0.5, int(np.ceil(1 / TUNING_STEP)) + 1)
    counts, edges = np.histogram(deviation, edges)
    return float(edges[np.argmax(counts)])


def normalize(frames: np.ndarray, norm: float) -> np.ndarray:
    """Divide each frame by its norm (1 or infinity); a silent frame stays as it is."""
    size = np.abs(frames)
    length = size.max(axis=1, keepdims=True) if norm == np.inf else size.sum(axis=1, keepdims=True)
    return frames / np.where(length < np.finfo(frames.dtype).tiny, 1, length)


def stft(x: np.ndarray, n_fft: int, hop_length: int) -> np.ndarray:
    """Short-time Fourier transform as librosa's: centred frames, zeros around: complex64 (n_frames, 1 + n_fft // 2)."""
    n_frames = 1 + (len(x) + 2 * (n_fft // 2) - n_fft) // hop_length
    frames = sliding_window_view(np.pad(x, (n_fft // 2, n_fft - n_fft // 2)), n_fft)[::hop_length][:n_frames]
    spectrum = np.empty((n_frames, 1 + n_fft // 2), dtype=np.complex64)
    for first in range(0, n_frames, BLOCK_FRAMES):
        block = slice(first, first + BLOCK_FRAMES)
        # In float64: rounding in a float32 transform shows in the valleys of the spectral contrast.
        spectrum[block] = scipy.fft.rfft(frames[block] * hann(n_fft), overwrite_x=True)
    return spectrum


@lru_cache(maxsize=4)
def hann(n: int) -> np.ndarray:
    """Periodic Hann window, float64 (n,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def _decimation(sample_rate: int) -> int:
    """Largest power of two by which a rate can be divided and stay an octave above what the filters need (librosa)."""
    room = int(np.log2(sample_rate / 4 / (FMIN_HZ * 2**N_OCTAVES)))
    return 2 ** min(max(0, room), int(np.log2(CQT_HOP)) - N_OCTAVES + 1)


def _harmonic_mask(magnitude: np.ndarray, *, n_low: int, n_ends: int) -> np.ndarray:
    """Soft mask of what lasts in time rather than spreads over frequency: (n_frames, n_bins), values 0 to 1.

    Bins from `n_low` are above all filters and heard only where an end of the clip cuts them off: in all but the
    `n_ends` frames that reach over an end the mask is 0 there, which saves half the work.
    """
    n_frames = len(magnitude)
    around = np.pad(magnitude, MEDIAN_WIDTH // 2, mode="symmetric")
    mask = np.zeros_like(magnitude)
    for first in range(0, n_frames, MASK_FRAMES):
        end = min(first + MASK_FRAMES, n_frames)
        mask[first:end, :n_low] = _soft_mask(around[first : end + MEDIAN_WIDTH - 1, : n_low + MEDIAN_WIDTH - 1])
    for first, end in ((0, min(n_ends, n_frames)), (max(0, n_frames - n_ends), n_frames)):
        mask[first:end, n_low:] = _soft_mask(around[first : end + MEDIAN_WIDTH - 1, n_low:])
    return mask


def _soft_mask(around: np.ndarray) -> np.ndarray:
    """Mask of a spectrogram that has 15 more frames and bins on each side: (n_frames + 30, n_bins + 30) -> smaller."""
    half = MEDIAN_WIDTH // 2
    lasting = _running_median(around[:, half:-half].T).T
    spread = _running_median(around[half:-half])
    largest = np.maximum(lasting, spread)
    silent = largest < np.finfo(np.float32).tiny
    largest[silent] = 1
    lasting, spread = (lasting / largest) ** 2, (spread / largest) ** 2
    lasting[silent] = spread[silent] = 1
    return lasting / (lasting + spread)


def _running_median(rows: np.ndarray) -> np.ndarray:
    """Median of each 31 neighbours in a row: (n_rows, n + 30) -> (n_rows, n)."""
    half = MEDIAN_WIDTH // 2
    # The rows one after the other are one long row, which SciPy filters far faster: only what is cut off sees two rows.
    return scipy.ndimage.median_filter(rows.ravel(), MEDIAN_WIDTH).reshape(rows.shape)[:, half:-half]


def _istft(spectrum: np.ndarray, mask: np.ndarray, n: int, n_fft: int, hop_length: int) -> np.ndarray:
    """Inverse of a masked, centred short-time Fourier transform with a Hann window: (n_frames, n_bins) -> (n,)."""
    n_hops = -(-n_fft // hop_length)
    window = np.zeros(n_hops * hop_length, dtype=np.float32)
    window[:n_fft] = hann(n_fft)
    frame = np.zeros((BLOCK_FRAMES, len(window)), dtype=np.float32)
    # Row by row one hop: every frame adds to `n_hops` rows, so frames overlap without a loop over them.
    signal = np.zeros((len(spectrum) + n_hops - 1, hop_length), dtype=np.float32)
    weight = np.zeros_like(signal)
    for first in range(0, len(spectrum), BLOCK_FRAMES):
        block = slice(first, first + BLOCK_FRAMES)
        n_block = len(spectrum[block])
        frame[:n_block, :n_fft] = scipy.fft.irfft(spectrum[block] * mask[block], n=n_fft, overwrite_x=True)
        frame *= window
        for hop in range(n_hops):
            part = slice(hop * hop_length, (hop + 1) * hop_length)
            signal[first + hop : first + hop + n_block] += frame[:n_block, part]
            weight[first + hop : first + hop + n_block] += window[part] ** 2
    np.divide(signal, weight, out=signal, where=weight > np.finfo(np.float32).tiny)
    y = signal.ravel()[n_fft // 2 : n_fft // 2 + n]
    return np.pad(y, (0, n - len(y)))


def _chroma_cqt(y: np.ndarray, rate: float, hop: int) -> np.ndarray:
    """Pitch classes from a constant-Q transform, the strongest of a frame 1: (n,) -> (1 + n // hop, 12)."""
    bank = _cqt_bank(rate, _tuning_of(y, rate, 4 * hop, hop))
    responses = []
    for _octave in range(N_OCTAVES):
        responses.append(_filter_octave(y, hop, bank))
        # Half the rate moves the same filters down by an octave.
        y, hop = audio.resample(y, 2, 1), hop // 2
    n_frames = min(len(response) for response in responses)
    chroma = np.zeros((n_frames, N_CHROMA), dtype=np.float32)
    for response, scale in zip(responses, bank.scales, strict=True):
        chroma += (response[:n_frames] * scale) @ bank.to_chroma
    return normalize(chroma, np.inf)


def _tuning_of(y: np.ndarray, rate: float, n_fft: int, hop: int) -> float:
    """`tuning` of a signal in bins of the constant-Q transform."""
    magnitude = np.abs(stft(y, n_fft, hop))
    return tuning(magnitude, sample_rate=rate, n_fft=n_fft, bins_per_octave=BINS_PER_OCTAVE)


def _filter_octave(y: np.ndarray, hop: int, bank: "_CqtBank") -> np.ndarray:
    """Magnitude of the top octave's filters at every hop: (n,) -> (1 + n // hop, 36)."""
    frames = sliding_window_view(np.pad(y, bank.n_fft // 2), bank.n_fft)[::hop]
    response = np.empty((len(frames), BINS_PER_OCTAVE), dtype=np.float32)
    for first in range(0, len(frames), BLOCK_FRAMES):
        block = slice(first, first + BLOCK_FRAMES)
        response[block] = np.abs(scipy.fft.rfft(frames[block])[:, bank.bins] @ bank.filters)
    return response


class _CqtBank(NamedTuple):
    """Filters of the top octave in the frequency domain, and what brings the octaves together."""

    n_fft: int
    bins: slice  # the few the filters cover
    filters: np.ndarray  # complex64 (n_bins, 36)
    scales: np.ndarray  # float32 (7, 36), one row an octave from the top
    to_chroma: np.ndarray  # float32 (36, 12)


@lru_cache(maxsize=128)  # there are 100 tunings
def _cqt_bank(rate: float, tuning: float) -> _CqtBank:
    from librosa import filters

    n_bins = N_OCTAVES * BINS_PER_OCTAVE
    freqs = FMIN_HZ * 2 ** ((tuning + np.arange(n_bins)) / BINS_PER_OCTAVE)
    ratio = 2 ** (2 / BINS_PER_OCTAVE)
    alpha = (ratio - 1) / (ratio + 1)  # bandwidth relative to frequency
    lengths, _ = filters.wavelet_lengths(freqs=freqs, sr=rate, alpha=alpha)
    top = slice(-BINS_PER_OCTAVE, None)
    wavelets, _ = filters.wavelet(freqs=freqs[top], sr=rate, alpha=alpha)  # (36, n_fft)
    n_fft = wavelets.shape[1]
    spectra = scipy.fft.fft(wavelets * (lengths[top, None] / n_fft))[:, : n_fft // 2 + 1]
    spectra = _sparsified(spectra).astype(np.complex64)
    used = np.flatnonzero(spectra.any(axis=0))
    bins = slice(int(used[0]), int(used[-1]) + 1)
    # Every halving of the rate doubles the energy a filter sees; long filters collect more than short ones.
    octave_gain = 2.0 ** np.arange(N_OCTAVES)[:, None]
    scales = octave_gain / np.sqrt(lengths.reshape(N_OCTAVES, BINS_PER_OCTAVE)[::-1])
    to_chroma = filters.cq_to_chroma(BINS_PER_OCTAVE, bins_per_octave=BINS_PER_OCTAVE).T
    filters_ = np.ascontiguousarray(spectra[:, bins].T)
    return _CqtBank(n_fft, bins, filters_, scales.astype(np.float32), np.ascontiguousarray(to_chroma))


def _sparsified(rows: np.ndarray) -> np.ndarray:
    """Set the smallest values of each row to 0 that together make up less than `SPARSITY` of its sum of magnitudes."""
    size = np.abs(rows)
    ordered = np.sort(size, axis=1)
    share = np.cumsum(ordered, axis=1) / size.sum(axis=1, keepdims=True)
    first_kept = np.argmin(share < SPARSITY, axis=1)
    return np.where(size >= np.take_along_axis(ordered, first_kept[:, None], axis=1), rows, 0)


@lru_cache(maxsize=1)
def _tonnetz_basis() -> np.ndarray:
    """Pitch classes on the circles of fifths, minor thirds and major thirds: (12, 6)."""
    angle = np.outer(np.arange(N_CHROMA), [7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3])
    angle[:, ::2] -= 0.5
    return np.array([1, 1, 1, 1, 0.5, 0.5]) * np.cos(np.pi * angle)
