"""Tonal centroids of the harmonic part of a signal, and the tuning of its partials.

The chain of librosa's ``tonnetz(y=effects.harmonic(x))``: median filters keep what lasts in a spectrogram, a
constant-Q transform sorts it into twelve pitch classes, and those are laid out on the circles of fifths and thirds.
All of it works in blocks of frames. What grows with the signal is its harmonic part at half the rate (88 kB a second at
44.1 kHz) and the transform's response to one octave (12 kB a second).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import scipy.fft
import soxr

from fsat.clips import audio
from fsat.features import filters, median
from fsat.features.filters import BINS_PER_OCTAVE, FMIN_HZ, N_CHROMA, N_OCTAVES
from fsat.features.stft import Stft, blocks, frame_count, hann

MEDIAN_WIDTH = median.WIDTH  # frames and bins of the two median filters (Fitzgerald 2010)
CQT_HOP = 512
TUNING_HZ = (150.0, 4000.0)
TUNING_STEP = 0.01
_SUM_FRAMES = 64  # frames that are added to the overlapping sum at a time


def tonnetz(transform: Stft, *, sample_rate: int) -> np.ndarray:
    """Tonal centroids (Harte, Sandler & Gasser 2006) of the harmonic part of a signal of at least one sample.

    Parameters
    ----------
    transform : Stft
        Short-time Fourier transform of the signal.
    sample_rate : int
        In Hz.

    Returns
    -------
    np.ndarray [shape=(1 + n // 512, 6), dtype=float64]
    """
    factor = _decimation(sample_rate)
    y = _decimated(harmonic_part(transform, first_unused_bin=transform.n_fft // 2 // factor), factor, len(transform.x))
    chroma = _chroma_cqt(y, sample_rate / factor, CQT_HOP // factor)
    return normalize(chroma, 1) @ filters.tonnetz_basis()


def tuning(magnitudes: Iterable[np.ndarray], *, sample_rate: float, n_fft: int, bins_per_octave: int) -> float:
    """Most frequent deviation of the partials from the tempered scale, in bins, -0.5 to 0.49; 0 where there are none.

    Partials are local maxima over 0.1 of their frame's maximum, at least as strong as the median one, with parabolic
    interpolation (`librosa.estimate_tuning`). The magnitudes are a spectrogram in blocks of frames: float32
    (n_block, 1 + n_fft // 2).
    """
    found = [_partials(magnitude, sample_rate, n_fft) for magnitude in magnitudes]
    pitch_hz, strength = (np.concatenate(values) for values in zip(*found, strict=True))
    if len(pitch_hz) == 0:
        return 0.0
    strong = pitch_hz[strength >= np.median(strength)]
    octaves = np.log2(strong / np.float32(440 / 16))
    deviation = np.mod(bins_per_octave * octaves, 1.0)
    deviation[deviation >= 0.5] -= 1.0
    edges = np.linspace(-0.5, 0.5, int(np.ceil(1 / TUNING_STEP)) + 1)
    counts, edges = np.histogram(deviation, edges)
    return float(edges[np.argmax(counts)])


def _partials(magnitude: np.ndarray, sample_rate: float, n_fft: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz and strength of the local maxima of some frames: (n_frames, n_bins) -> float32 (k,), float32 (k,)."""
    freq = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    low, high = np.searchsorted(freq, TUNING_HZ)
    s = magnitude[:, max(low, 1) - 1 : high + 1]
    left, centre, right = s[:, :-2], s[:, 1:-1], s[:, 2:]
    limit = np.float32(0.1) * magnitude.max(axis=1, keepdims=True)
    # NumPy finds what is not zero of one dimension many times faster than of two.
    frame, bin_ = np.divmod(np.flatnonzero((centre > left) & (centre >= right) & (centre > limit)), centre.shape[1])
    a, b, c = left[frame, bin_], centre[frame, bin_], right[frame, bin_]
    curvature, slope = c + a - 2 * b, (c - a) / 2
    inside = np.abs(slope) < np.abs(curvature)
    shift = np.divide(-slope, curvature, out=np.zeros_like(slope), where=inside)
    strength = b + np.float32(0.5) * slope * shift
    pitch_hz = ((bin_ + max(low, 1) + shift) * float(sample_rate) / n_fft).astype(np.float32)
    return pitch_hz, strength


def normalize(frames: np.ndarray, norm: float) -> np.ndarray:
    """Divide each frame by its norm (1 or infinity); a silent frame stays as it is."""
    size = np.abs(frames)
    length = size.max(axis=1, keepdims=True) if norm == np.inf else size.sum(axis=1, keepdims=True)
    return frames / np.where(length < np.finfo(frames.dtype).tiny, 1, length)


def _decimation(sample_rate: int) -> int:
    """Largest power of two by which a rate can be divided and stay an octave above what the filters need (librosa)."""
    room = int(np.log2(sample_rate / 4 / (FMIN_HZ * 2**N_OCTAVES)))
    return 2 ** min(max(0, room), int(np.log2(CQT_HOP)) - N_OCTAVES + 1)


# What lasts ----------------------------------------------------------------------------------------------------------


def harmonic_part(transform: Stft, *, first_unused_bin: int) -> Iterator[np.ndarray]:
    """Yield the part of a signal that lasts in time, block by block: float32, n samples in all.

    Bins from `first_unused_bin` are above all filters that follow and matter only where an end of the clip cuts them
    off: in all but the frames that reach over an end they are left out, which saves half the work.
    """
    overlap = _OverlapAdd(transform.n_fft, transform.hop_length)
    skipped, missing = transform.n_fft // 2, len(transform.x)
    for first, end in blocks(transform.n_frames):
        done = overlap.add(*_masked(transform, first, end, first_unused_bin), last=end == transform.n_frames)
        y = done[skipped : skipped + missing]
        skipped = max(0, skipped - len(done))
        missing -= len(y)
        yield y
    if missing:
        yield np.zeros(missing, dtype=np.float32)


def _masked(transform: Stft, first: int, end: int, first_unused_bin: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames `first` to `end` and the mask of what lasts in them, both (end - first, n_bins)."""
    n, margin = transform.n_frames, MEDIAN_WIDTH - 1
    # Which frame stands at each place of the spectrogram, mirrored at both ends.
    frames = np.pad(np.arange(n), margin // 2, mode="symmetric")[first : end + margin]
    low, high = int(frames.min()), int(frames.max()) + 1
    spectrum, magnitude = transform.with_magnitude(low, high)
    around = np.pad(magnitude[frames - low], ((0, 0), (margin // 2, margin // 2)), mode="symmetric")
    mask = np.zeros((end - first, magnitude.shape[1]), dtype=np.float32)
    mask[:, :first_unused_bin] = _soft_mask(around[:, : first_unused_bin + margin])
    n_edge_frames = min(-(-transform.n_fft // 2 // transform.hop_length), n)
    for start, stop in ((0, n_edge_frames), (n - n_edge_frames, n)):
        a, b = max(start, first) - first, min(stop, end) - first
        if a < b:
            mask[a:b, first_unused_bin:] = _soft_mask(around[a : b + margin, first_unused_bin:])
    return spectrum[first - low : end - low], mask


def _soft_mask(around: np.ndarray) -> np.ndarray:
    """Mask of what lasts in time rather than spreads over frequency, 0 to 1.

    Of a spectrogram that has 15 more frames and bins on each side: (n_frames + 30, n_bins + 30) -> smaller.
    """
    half = MEDIAN_WIDTH // 2
    lasting = median.running(around[:, half:-half].T).T
    spread = median.running(around[half:-half])
    largest = np.maximum(lasting, spread)
    silent = largest < np.finfo(np.float32).tiny
    largest[silent] = 1
    lasting, spread = (lasting / largest) ** 2, (spread / largest) ** 2
    lasting[silent] = spread[silent] = 1
    return lasting / (lasting + spread)


class _OverlapAdd:
    """Inverse of a masked, centred short-time Fourier transform with a Hann window, block by block."""

    def __init__(self, n_fft: int, hop_length: int) -> None:
        self.n_fft, self.hop_length = n_fft, hop_length
        self.n_hops = -(-n_fft // hop_length)
        self.window = np.zeros(self.n_hops * hop_length, dtype=np.float32)
        self.window[:n_fft] = hann(n_fft)
        # Row by row one hop: every frame adds to `n_hops` rows, so frames overlap without a loop over them.
        self.signal = np.zeros((self.n_hops - 1, hop_length), dtype=np.float32)
        self.weight = np.zeros_like(self.signal)

    def add(self, spectrum: np.ndarray, mask: np.ndarray, *, last: bool) -> np.ndarray:
        """Add frames and return the samples that no later frame reaches (all of them after the last frame).

        Every block but the last must be a multiple of 64 frames, or the sums are rounded in another order.
        """
        more = np.zeros((len(spectrum), self.hop_length), dtype=np.float32)
        signal, weight = np.concatenate([self.signal, more]), np.concatenate([self.weight, more])
        frame = np.zeros((_SUM_FRAMES, len(self.window)), dtype=np.float32)
        for first in range(0, len(spectrum), _SUM_FRAMES):
            block = slice(first, first + _SUM_FRAMES)
            n_block = len(spectrum[block])
            masked = spectrum[block] * mask[block]
            frame[:n_block, : self.n_fft] = scipy.fft.irfft(masked, n=self.n_fft, overwrite_x=True)
            frame *= self.window
            for hop in range(self.n_hops):
                part = slice(hop * self.hop_length, (hop + 1) * self.hop_length)
                signal[first + hop : first + hop + n_block] += frame[:n_block, part]
                weight[first + hop : first + hop + n_block] += self.window[part] ** 2
        n_done = len(signal) if last else len(spectrum)
        self.signal, self.weight = signal[n_done:], weight[n_done:]
        signal, weight = signal[:n_done], weight[:n_done]
        return np.divide(signal, weight, out=signal, where=weight > np.finfo(np.float32).tiny).ravel()


def _decimated(parts: Iterable[np.ndarray], factor: int, n: int) -> np.ndarray:
    """Resample a signal of `n` samples that comes in parts to a `factor`-th of its rate, as `audio.resample` does."""
    y = np.zeros(-(-n // factor), dtype=np.float32)
    done = 0
    for chunk in parts if factor == 1 else _resampled(parts, factor):
        fitting = chunk[: len(y) - done]  # soxr may return a sample more or less
        y[done : done + len(fitting)] = fitting
        done += len(fitting)
    return y


def _resampled(parts: Iterable[np.ndarray], factor: int) -> Iterator[np.ndarray]:
    stream = soxr.ResampleStream(factor, 1, 1, dtype="float32", quality="soxr_hq")
    for part in parts:
        yield stream.resample_chunk(part)
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


# Pitch classes -------------------------------------------------------------------------------------------------------


def _chroma_cqt(y: np.ndarray, rate: float, hop: int) -> np.ndarray:
    """Pitch classes from a constant-Q transform, the strongest of a frame 1: (n,) -> (1 + n // hop, 12)."""
    transform = Stft(y, 4 * hop, hop)
    found = tuning(transform.magnitudes(), sample_rate=rate, n_fft=4 * hop, bins_per_octave=BINS_PER_OCTAVE)
    bank = _cqt_bank(rate, found)
    octaves = [(-(-len(y) // 2**octave), hop // 2**octave) for octave in range(N_OCTAVES)]
    n_frames = min(frame_count(n, bank.n_fft, hop) for n, hop in octaves)
    chroma = np.zeros((n_frames, N_CHROMA), dtype=np.float32)
    for (_, hop), scale in zip(octaves, bank.scales, strict=True):
        chroma += (_filter_octave(y, hop, bank)[:n_frames] * scale) @ bank.to_chroma
        # Half the rate moves the same filters down by an octave.
        y = audio.resample(y, 2, 1)
    return normalize(chroma, np.inf)


def _filter_octave(y: np.ndarray, hop: int, bank: filters.CqtBank) -> np.ndarray:
    """Magnitude of the top octave's filters at every hop: (n,) -> (1 + n // hop, 36)."""
    transform = Stft(y, bank.n_fft, hop)
    response = np.empty((transform.n_frames, BINS_PER_OCTAVE), dtype=np.float32)
    for first, end in blocks(transform.n_frames):
        for part, frames in transform.frames(first, end):
            response[part] = np.abs(scipy.fft.rfft(frames)[:, bank.bins] @ bank.filters)
    return response


_cqt_bank = lru_cache(maxsize=128)(filters.cqt_bank)  # there are 100 tunings
