"""Statistics of a signal's envelope, mean spectrum and waveform: the last 148 of the 1133.

Lengths and positions are in samples or bins at whatever rate the signal has; docs/RECIPE.md, section 2, defines them.
"""

from collections.abc import Callable, Iterable, Iterator
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
_CHUNK, _FFT_BLOCKS = 1 << 20, 512  # samples and blocks in memory at a time


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
    """How long and how often a signal, float32 (n,), is loud, when it begins and ends, how often it crosses zero.

    Returns float64 (12,): run lengths above 0.05 and above 0.25 of the envelope's maximum, four each;
    log(1 + position) of attack and relaxation; log(1 + zero crossings) and zero crossings / n. Two neighbours one of
    which is 0 cross zero.
    """
    whole = list(_envelope(x)) if len(x) <= _CHUNK else None

    def envelopes() -> Iterable[np.ndarray]:
        return _envelope(x) if whole is None else whole

    peak = max(envelope.max() for envelope in envelopes())
    n = max(1, len(x) - WINDOW + 1)
    crossings = sum(int(np.count_nonzero(x[a + 1 : b + 1] * x[a:b] <= 0)) for a, b in _chunks(len(x) - 1))
    attack, relax, runs = 0, 0, [np.zeros(4)] * len(ENVELOPE_LEVELS)
    if peak > 0:
        runs = [_length_statistics(_lengths(env > level * peak for env in envelopes())) for level in ENVELOPE_LEVELS]
        attack = _first(envelope > 0.99 * peak for envelope in envelopes())
        relax = _first(_after(attack, (envelope < 0.2 * peak for envelope in envelopes())), otherwise=n)
    return np.concatenate([*runs, np.log1p([attack, relax, crossings]), [crossings / len(x)]])


def _envelope(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the running mean of x^2 over `WINDOW` samples (or all there are) in blocks: float32, n - 1999 in all."""
    width = min(WINDOW, len(x))
    # The sums are float32 as in the original: run lengths hang on its rounding.
    total = np.zeros(1, dtype=np.float32)
    for a, b in _chunks(len(x)):
        more = np.cumsum(np.concatenate([total[-1:], x[a:b] ** 2]), dtype=np.float32)[1:]
        total = np.concatenate([total, more])
        if len(total) > width:
            yield (total[width:] - total[:-width]) / np.float32(width)
            total = total[-width:]


def _chunks(n: int) -> Iterator[tuple[int, int]]:
    """First sample and end of blocks that bound the memory."""
    return ((start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))


def _first(masks: Iterable[np.ndarray], *, otherwise: int = 0) -> int:
    """Position of the first true value of a mask that comes in blocks."""
    position = 0
    for mask in masks:
        if mask.any():
            return position + int(np.argmax(mask))
        position += len(mask)
    return otherwise


def _after(position: int, masks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same masks, false in front of a position."""
    for mask in masks:
        mask[: max(position, 0)] = False
        position -= len(mask)
        yield mask


def mean_spectrum(x: np.ndarray) -> np.ndarray:
    """log(1 + mean over blocks of the FFT magnitudes): (n,) -> float64 (1000,).

    A block that would end at or after the signal's end is dropped; a signal too short for one block is one block.
    """
    n_blocks = (len(x) - FIRST_EDGE - 1) // WINDOW
    if n_blocks >= 1:
        blocks = x[FIRST_EDGE : FIRST_EDGE + n_blocks * WINDOW].reshape(n_blocks, WINDOW)
    else:
        blocks = x[None, :WINDOW]
    total = np.zeros((1, N_BINS))
    for a in range(0, len(blocks), _FFT_BLOCKS):
        magnitude = np.abs(scipy.fft.rfft(blocks[a : a + _FFT_BLOCKS], n=WINDOW))[:, :N_BINS]
        total = np.concatenate([total, magnitude]).sum(axis=0, keepdims=True)
    return np.log1p(total[0] / len(blocks))


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
    runs = [_length_statistics(_lengths([m > level * peak])) for level in SPECTRUM_LEVELS]
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


def _lengths(masks: Iterable[np.ndarray]) -> np.ndarray:
    """Lengths of the runs of true values in a mask that comes in blocks, none of them empty: int64 (k,)."""
    edges, position, before = [], 0, False
    for mask in masks:
        edges.append(position + np.flatnonzero(np.diff(mask, prepend=before)))
        position, before = position + len(mask), bool(mask[-1])
    edges.append(np.arange(position, position + before))  # a run that lasts to the end
    ends = np.concatenate(edges)
    return ends[1::2] - ends[::2]


def _length_statistics(lengths: np.ndarray) -> np.ndarray:
    """log(1 + mean), log(1 + std), log(1 + max) and number of the lengths; zeros if there are none."""
    if len(lengths) == 0:
        return np.zeros(4)
    return np.array([*np.log1p([lengths.mean(), lengths.std(), lengths.max()]), len(lengths)])


def waveform_statistics(x: np.ndarray) -> np.ndarray:
    """Mean, std, min and max of 1, 2 and 3 equal parts of x, abs(x), diff(x): (n,) -> (72,); zeros for no samples."""
    wave, size = _part_statistics(lambda a, b: x[a:b], len(x)), _part_statistics(lambda a, b: np.abs(x[a:b]), len(x))
    return np.concatenate([wave, size, _part_statistics(lambda a, b: x[a + 1 : b + 1] - x[a:b], max(0, len(x) - 1))])


def _part_statistics(samples: Callable[[int, int], np.ndarray], n: int) -> np.ndarray:
    """Mean, std, min and max of each part of 1, 2 and 3 equal parts (`np.array_split`) of n samples: float64 (24,).

    `samples(a, b)` returns samples a to b: float32 (b - a,).
    """
    # The parts share their samples: sums over the pieces between all cuts make up the sums over every part.
    parts = [part for n_parts in (1, 2, 3) for part in _split(n, n_parts)]
    cuts = sorted({cut for part in parts for cut in part})
    if n == 0:
        return np.zeros(4 * len(parts))
    offset = float(samples(0, 1)[0])  # so that sums of squares lose no digits to an offset of the signal
    sums, squares, minima, maxima = np.array([_sums(samples, a, b, offset) for a, b in pairwise(cuts)]).T
    values = np.zeros((len(parts), 4))
    for row, (start, end) in enumerate(parts):
        if end > start:
            inside = slice(cuts.index(start), cuts.index(end))
            low, high = minima[inside].min(), maxima[inside].max()
            mean = sums[inside].sum() / (end - start)
            # The variance of a constant part is a difference of two rounded numbers.
            variance = max(0.0, squares[inside].sum() / (end - start) - mean**2) if high > low else 0.0
            values[row] = offset + mean, np.sqrt(variance), low, high
    return values.ravel()


def _sums(
    samples: Callable[[int, int], np.ndarray], start: int, end: int, offset: float
) -> tuple[float, float, float, float]:
    """Sum and sum of squares of samples `start` to `end` less an offset; their minimum and maximum."""
    values = np.zeros((0, 4))
    for a in range(start, end, _CHUNK):
        x = samples(a, min(a + _CHUNK, end))
        y = x.astype(np.float64) - offset
        values = np.concatenate([values, [[y.sum(), y @ y, x.min(), x.max()]]])
    return float(values[:, 0].sum()), float(values[:, 1].sum()), float(values[:, 2].min()), float(values[:, 3].max())


def _split(n: int, n_parts: int) -> list[tuple[int, int]]:
    """Start and end of `n_parts` equal parts; the first ones are longer by one where `n` is no multiple."""
    return list(pairwise(part * (n // n_parts) + min(part, n % n_parts) for part in range(n_parts + 1)))
