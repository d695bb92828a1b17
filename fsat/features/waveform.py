"""Statistics of a signal's envelope, mean spectrum and waveform: the last 148 of the 1133.

Lengths and positions are in samples or bins at whatever rate the signal has; docs/RECIPE.md, section 2, defines them.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import scipy.fft

WINDOW = 2000  # samples of the envelope's running mean, and of a block of the mean spectrum
FIRST_EDGE = 100
ENVELOPE_LEVELS = (0.05, 0.25)
SPECTRUM_LEVELS = (0.1, 0.2, 0.5, 0.9, 0.99)
N_BINS = WINDOW // 2
AVERAGED_BINS, AVERAGE_STEP = 20, 40


def feature_names() -> list[str]:
    """Names of what `statistics` returns, in its order."""
    waveform = [
        f"{signal}_{n_parts}.{part}_{statistic}"
        for signal in ("wave", "abs", "diff")
        for n_parts in (1, 2, 3)
        for part in range(n_parts)
        for statistic in ("mean", "std", "min", "max")
    ]
    return [f"envelope_{i:02d}" for i in range(12)] + [f"spectrum_{i:02d}" for i in range(64)] + waveform


def statistics(x: np.ndarray) -> np.ndarray:
    """Envelope (12), mean spectrum (64) and waveform (72) of a signal of at least one sample: float64 (148,)."""
    return np.concatenate([envelope_statistics(x), spectrum_statistics(mean_spectrum(x)), waveform_statistics(x)])


def envelope_statistics(x: np.ndarray) -> np.ndarray:
    """How long and how often a signal is loud, when it begins and ends, how often it crosses zero.

    Parameters
    ----------
    x : np.ndarray [shape=(n,), dtype=float32]

    Returns
    -------
    np.ndarray [shape=(12,)]
        Run lengths above 0.05 and above 0.25 of the envelope's maximum, four each; log(1 + position) of attack and
        relaxation; log(1 + zero crossings) and zero crossings / n. Two neighbours one of which is 0 cross zero.
    """
    # The sums are float32 as in the original: run lengths hang on its rounding.
    total = np.concatenate([np.zeros(1, dtype=np.float32), np.cumsum(x**2, dtype=np.float32)])
    width = min(WINDOW, len(x))
    envelope = (total[width:] - total[:-width]) / np.float32(width)
    peak = envelope.max()
    crossings = int(np.count_nonzero(x[1:] * x[:-1] <= 0))
    attack = relax = 0
    if peak > 0:
        attack = int(np.argmax(envelope > 0.99 * peak))
        quiet = envelope[attack:] < 0.2 * peak
        relax = attack + int(np.argmax(quiet)) if quiet.any() else len(envelope)
    runs = [run_lengths(envelope > level * peak) for level in ENVELOPE_LEVELS]
    return np.concatenate([*runs, np.log1p([attack, relax, crossings]), [crossings / len(x)]])


def mean_spectrum(x: np.ndarray) -> np.ndarray:
    """log(1 + mean over blocks of the FFT magnitudes): (n,) -> float64 (1000,).

    A block that would end at or after the signal's end is dropped; a signal too short for one block is one block.
    """
    n_blocks = (len(x) - FIRST_EDGE - 1) // WINDOW
    if n_blocks >= 1:
        blocks = x[FIRST_EDGE : FIRST_EDGE + n_blocks * WINDOW].reshape(n_blocks, WINDOW)
    else:
        blocks = x[None, :WINDOW]
    magnitude = np.abs(scipy.fft.rfft(blocks, n=WINDOW))[:, :N_BINS]
    return np.log1p(magnitude.mean(axis=0, dtype=np.float64))


def spectrum_statistics(m: np.ndarray) -> np.ndarray:
    """39 numbers on the shape of a mean spectrum and 25 of its averages: (1000,) -> (64,); zeros if it is all zero."""
    peak = m.max()
    if peak <= 0:
        return np.zeros(64)
    energy = m @ m
    position = int(np.argmax(m))
    shape = [
        np.arange(len(m)) @ m**2 / energy,
        *(np.count_nonzero(m > level * peak) for level in SPECTRUM_LEVELS),
        position,
        np.count_nonzero(m[:50] >= 0.5 * peak),
        np.count_nonzero(m[:50] >= 0.9 * peak),
    ]
    runs = [run_lengths(m > level * peak) for level in SPECTRUM_LEVELS]
    size = [m.sum(), m.mean(), np.sqrt(energy), np.sqrt(energy) / len(m)]
    total = np.concatenate([[0.0], np.cumsum(m)])
    averages = (total[AVERAGED_BINS:] - total[:-AVERAGED_BINS])[::AVERAGE_STEP] / AVERAGED_BINS
    return np.concatenate([shape, *runs, _whole_fit() @ m, size, _lobe_fit(m, peak, position), averages])


def _lobe_fit(m: np.ndarray, peak: float, position: int) -> np.ndarray:
    """Quadratic fit (linear, squared, intercept) from the nearest bin under 10 % left of the peak to that on its right.

    Where there is no such bin on a side, bin 0 stands for it; zeros if the span is shorter than three bins.
    """
    under = np.flatnonzero(m < 0.1 * peak)
    if len(under) == 0:
        return np.zeros(3)
    left = max(under[under < position], default=0)
    right = min(under[under > position], default=0)
    if right - left < 3:
        return np.zeros(3)
    squared, linear, intercept = np.polyfit(np.arange(left, right), m[left:right], 2)
    return np.array([linear, squared, intercept])


@lru_cache(maxsize=1)
def _whole_fit() -> np.ndarray:
    """Matrix that takes a mean spectrum to its quadratic fit (linear, squared, intercept): (3, 1000)."""
    # Fitted on [0, 1] and scaled back, because the squares of bin numbers span six orders of magnitude.
    scale = 1 / N_BINS
    fit = np.linalg.pinv(np.vander(np.arange(N_BINS) * scale, 3))  # squared, linear, intercept
    return np.stack([fit[1] * scale, fit[0] * scale**2, fit[2]])


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """log(1 + mean), log(1 + std), log(1 + max) and number of the lengths of consecutive true values; zeros if none."""
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    if mask[0]:
        edges = np.concatenate([[0], edges])
    if mask[-1]:
        edges = np.concatenate([edges, [len(mask)]])
    if len(edges) == 0:
        return np.zeros(4)
    lengths = edges[1::2] - edges[::2]
    return np.array([*np.log1p([lengths.mean(), lengths.std(), lengths.max()]), len(lengths)])


def waveform_statistics(x: np.ndarray) -> np.ndarray:
    """Mean, std, min and max of 1, 2 and 3 equal parts of x, abs(x), diff(x): (n,) -> (72,); zeros for no samples."""
    return np.concatenate([_part_statistics(signal) for signal in (x, np.abs(x), np.diff(x))])


def _part_statistics(x: np.ndarray) -> np.ndarray:
    """Mean, std, min and max of each part of 1, 2 and 3 equal parts (`np.array_split`): (n,) -> (24,)."""
    # The parts share their samples: sums over the pieces between all cuts make up the sums over every part.
    parts = [part for n_parts in (1, 2, 3) for part in _split(len(x), n_parts)]
    cuts = sorted({cut for part in parts for cut in part})
    if len(x) == 0:
        return np.zeros(4 * len(parts))
    offset = float(x[0])  # sums of squares lose no digits to a constant, whose deviation is then exactly 0
    y = x.astype(np.float64) - offset
    pieces = [(y[a:b].sum(), y[a:b] @ y[a:b], x[a:b].min(), x[a:b].max()) for a, b in pairwise(cuts)]
    sums, squares, minima, maxima = np.array(pieces, dtype=np.float64).T
    values = np.zeros((len(parts), 4))
    for row, (start, end) in enumerate(parts):
        if end > start:
            inside = slice(cuts.index(start), cuts.index(end))
            mean = sums[inside].sum() / (end - start)
            variance = max(0.0, squares[inside].sum() / (end - start) - mean**2)
            values[row] = offset + mean, np.sqrt(variance), minima[inside].min(), maxima[inside].max()
    return values.ravel()


def _split(n: int, n_parts: int) -> list[tuple[int, int]]:
    """Start and end of `n_parts` equal parts; the first ones are longer by one where `n` is no multiple."""
    cuts = [part * (n // n_parts) + min(part, n % n_parts) for part in range(n_parts + 1)]
    return list(pairwise(cuts))
