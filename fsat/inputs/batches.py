"""Batches of clips: lengths, crops, augmentation and mixup, drawn first and applied after.

Crop, mirror padding, shift with repeated edges and reversal are all maps of time indices: they are composed into one
(B, T) array of frame numbers, and the frame array is read once. Source of the numbers: write-up of the 8th place,
Freesound General-Purpose Audio Tagging Challenge 2018.

Shapes: B clips in a batch, T frames, M mel bins, P principal components, C classes.
"""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fsat.core import seeds
from fsat.core.network import STRIDE
from fsat.core.params import Augment
from fsat.inputs.examples import Clips, Examples
from fsat.inputs.frames import FrameStore

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """One step of training."""

    mel: np.ndarray  # (B, M, T, 1), scaled to about [0, 1]
    components: np.ndarray | None  # (B, P)
    targets: np.ndarray  # (B, C)
    weights: np.ndarray | None = None  # (B,): of the clips in the loss; None where all are 1

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Mel and components as `named_inputs`."""
        return named_inputs(self.mel, self.components)


def named_inputs(mel: np.ndarray, components: np.ndarray | None) -> dict[str, np.ndarray]:
    """Arrays by the names of the network's inputs: "mel" and, where there are components, "pca"."""
    return {"mel": mel} if components is None else {"mel": mel, "pca": components}


# Lengths -----------------------------------------------------------------------------------------------------------


def length_range(lengths: np.ndarray, percentiles: tuple[float, float], *, step: int = 1) -> tuple[int, int]:
    """Shortest and longest T: the given percentiles of the training clips' lengths, both multiples of `step`.

    Neither is under `STRIDE` (rounded up to a multiple of `step`), however short the clips are.

    >>> length_range(np.array([100, 200, 300, 400, 500]), (25, 75))
    (200, 400)
    """
    low, high = np.percentile(lengths, percentiles)
    least = math.ceil(STRIDE / step) * step
    shortest = max(least, round(low / step) * step)
    return shortest, max(shortest, round(high / step) * step)


def draw_length(rng: np.random.Generator, bounds: tuple[int, int], *, step: int = 1) -> int:
    """One T for a batch, uniform over the multiples of `step` in the closed range."""
    low, high = bounds
    return low + step * int(rng.integers((high - low) // step + 1))


def fixed_lengths(bounds: tuple[int, int], n_lengths: int, *, step: int = 1) -> list[int]:
    """The fixed T of validation and prediction: equal steps between the bounds, ends included, no value twice.

    >>> fixed_lengths((263, 763), 6)
    [263, 363, 463, 563, 663, 763]
    """
    return sorted({round(value / step) * step for value in np.linspace(*bounds, n_lengths)})


# Crop --------------------------------------------------------------------------------------------------------------


def draw_spans(rng: np.random.Generator, lengths: np.ndarray, n_frames: int) -> np.ndarray:
    """First frame of each clip's span of `n_frames`, int64 (B,): negative where a short clip is padded on the left.

    Uniform over all positions of a longer clip, ends included, or over all splits of the padding of a shorter one.
    """
    room = lengths - n_frames
    return np.where(room >= 0, 1, -1) * rng.integers(0, np.abs(room) + 1)


def clip_spans(fnames: Sequence[str], lengths: np.ndarray, n_frames: int, key: tuple[int | str, ...]) -> np.ndarray:
    """Spans as `draw_spans` draws them, each keyed by its clip's file name: independent of all other clips.

    So a test clip that is added changes no other clip's prediction, and tagging one clip alone, wherever it lies,
    sees the spans that the pipeline saw.

    Parameters
    ----------
    fnames : sequence of str, length B
        Folders in front of the name do not count, nor does the Unicode form (NFC, NFD).
    lengths : np.ndarray [shape=(B,), dtype=int64]
        Frames of each clip.
    key : tuple
        Seed and purpose, see `seeds.fraction`.
    """
    # One name in NFC and NFD, as other file systems and archives write it, is one key.
    names = [unicodedata.normalize("NFC", fname.rpartition("/")[2]) for fname in fnames]
    fractions = np.array([seeds.fraction(*key, name) for name in names])  # type: ignore[arg-type]
    room = lengths - n_frames
    return np.where(room >= 0, 1, -1) * np.floor(fractions * (np.abs(room) + 1)).astype(np.int64)


def mirrored_spans(spans: np.ndarray, n_frames: int, lengths: np.ndarray) -> np.ndarray:
    """Frame numbers (B, T) of spans; those outside [0, length) are mirrored, the edge frame repeated ("symmetric").

    >>> mirrored_spans(np.array([-2]), 7, np.array([3]))
    array([[1, 0, 0, 1, 2, 2, 1]])
    """
    period = 2 * lengths[:, None]
    folded = np.mod(spans[:, None] + np.arange(n_frames), period)  # (B, T)
    return np.minimum(folded, period - 1 - folded)


# Augmentation ------------------------------------------------------------------------------------------------------

# Rectangles drawn at once for a clip. At T 763 three in a hundred of the recipe's draws fit, so that one round finds
# one for 85 % of the clips.
_CANDIDATES = 64


@dataclass(frozen=True)
class Augmentation:
    """What happens to each clip of a batch; every array has length B."""

    time_shift: np.ndarray  # int64: frames by which the content moves right; edges are repeated
    frequency_shift: np.ndarray  # int64: mel bins by which it moves up
    flip: np.ndarray  # bool: reversed in time
    erase: np.ndarray  # int64 (B, 4): rectangle first bin, bins, first frame, frames; all zero where nothing is erased
    fill: np.ndarray  # float32: value of the rectangle


def draw_augmentation(
    rng: np.random.Generator, n_clips: int, n_frames: int, n_mels: int, augment: Augment
) -> Augmentation:
    """Draw an independent augmentation for each clip."""
    time_limit, frequency_limit = round(augment.time_shift * n_frames), round(augment.frequency_shift * n_mels)
    time_shift = rng.integers(-time_limit, time_limit + 1, n_clips)
    frequency_shift = rng.integers(-frequency_limit, frequency_limit + 1, n_clips)
    flip = rng.random(n_clips) < augment.flip_probability
    erased = np.flatnonzero(rng.random(n_clips) < augment.erase.probability)
    erase = np.zeros((n_clips, 4), dtype=np.int64)
    erase[erased] = draw_rectangles(rng, len(erased), n_frames, n_mels, augment.erase.area, augment.erase.aspect)
    fill = rng.random(n_clips, dtype=np.float32)
    return Augmentation(time_shift, frequency_shift, flip, erase, fill)


def draw_rectangles(
    rng: np.random.Generator,
    n_clips: int,
    n_frames: int,
    n_mels: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> np.ndarray:
    """Rectangles (first bin, bins, first frame, frames), int64 (B, 4).

    Area (share of n_mels x n_frames), aspect (height / width) and corner are uniform, and are redrawn together until
    the rectangle lies inside: `_CANDIDATES` at a time, of which a clip takes its first that does. A rectangle that
    never does in 32 times as many draws (a spectrogram too narrow for the ranges) stays all zero.
    Source: Zhong et al., Random Erasing Data Augmentation, 2017.
    """
    rectangles = np.zeros((n_clips, 4), dtype=np.int64)
    open_rows = np.arange(n_clips)
    for _ in range(32):
        if len(open_rows) == 0:
            break
        shape = (len(open_rows), _CANDIDATES)
        pixels = rng.uniform(*area, shape) * n_mels * n_frames
        ratio = rng.uniform(*aspect, shape)
        height, width = np.sqrt(pixels * ratio).astype(np.int64), np.sqrt(pixels / ratio).astype(np.int64)
        top, left = rng.integers(0, n_mels, shape), rng.integers(0, n_frames, shape)
        inside = (top + height <= n_mels) & (left + width <= n_frames)
        found = np.flatnonzero(inside.any(axis=1))
        first = inside[found].argmax(axis=1)
        rectangles[open_rows[found]] = np.stack([top, height, left, width], axis=-1)[found, first]
        open_rows = np.delete(open_rows, found)
    return rectangles


def augment_indices(indices: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Compose shift and reversal with an index map: column t of the result, int64 (B, T), is the frame seen at t."""
    n_frames = indices.shape[1]
    columns = np.arange(n_frames)
    # Shift, then reversal, of the spectrogram: so the reversed column is looked up first.
    columns = np.where(augmentation.flip[:, None], columns[::-1], columns) - augmentation.time_shift[:, None]
    return np.take_along_axis(indices, np.clip(columns, 0, n_frames - 1), axis=1)


# Batches -----------------------------------------------------------------------------------------------------------

# Frames turned into columns at a time: 128 frames of 64 bins lie in 32 KiB, the size of a first-level cache.
_TRANSPOSED_FRAMES = 128


@dataclass(frozen=True)
class Views:
    """What is seen of each clip of a batch: rows of the store's frame array, int64 (B, T), in the order seen."""

    frames: np.ndarray
    augmentation: Augmentation | None = None

    def render(self, store: FrameStore, clip: int, spectrogram: np.ndarray) -> None:
        """Write what is seen of one clip into `spectrogram` (T, M), scaled to about [0, 1]."""
        # The rows are inside the array (`open_frames` checks); the default mode would check them in a second buffer.
        np.take(store.frames, self.frames[clip], axis=0, out=spectrogram, mode="clip")
        store.scale(spectrogram, out=spectrogram)
        if self.augmentation is None:
            return
        if shift := self.augmentation.frequency_shift[clip]:
            n_mels = spectrogram.shape[1]
            spectrogram[:] = spectrogram[:, np.clip(np.arange(n_mels) - shift, 0, n_mels - 1)]
        top, height, left, width = self.augmentation.erase[clip]
        spectrogram[left : left + width, top : top + height] = self.augmentation.fill[clip]


def images(store: FrameStore, views: Views, mixture: tuple[Views, np.ndarray] | None = None) -> np.ndarray:
    """Spectrograms (B, M, T, 1) float32 of the views, mixed with partners by weights, float32 (B,), where given.

    Clip by clip through two small buffers, which stay in the processor's cache; a batch is written to memory once.
    """
    n_clips, n_frames = views.frames.shape
    n_mels = store.frames.shape[1]
    batch = np.empty((n_clips, n_mels, n_frames, 1), dtype=np.float32)
    spectrogram, partner_spectrogram = np.empty((2, n_frames, n_mels), dtype=np.float32)
    for clip in range(n_clips):
        views.render(store, clip, spectrogram)
        if mixture is not None:
            partners, weights = mixture
            partners.render(store, clip, partner_spectrogram)
            mix(spectrogram, partner_spectrogram, weights[clip])
        for start in range(0, n_frames, _TRANSPOSED_FRAMES):
            part = slice(start, start + _TRANSPOSED_FRAMES)
            batch[clip, :, part, 0] = spectrogram[part].T
    return batch


def cropped(clips: Clips, which: np.ndarray, spans: np.ndarray, n_frames: int) -> dict[str, np.ndarray]:
    """A network's inputs (`named_inputs`) of the given spans of clips, as validation and prediction need them."""
    rows = clips.rows[which]
    indices = mirrored_spans(spans, n_frames, clips.store.lengths[rows])
    views = Views(clips.store.starts[rows][:, None] + indices)
    return named_inputs(images(clips.store, views), None if clips.components is None else clips.components[which])


def crop_pass(
    clips: Clips, n_frames: int, batch_size: int, key: tuple[int | str, ...]
) -> Iterator[dict[str, np.ndarray]]:
    """One random span of every clip, in order, in batches; each depends on `key` and its own clip (`clip_spans`)."""
    spans = clip_spans(clips.fnames, clips.store.lengths[clips.rows], n_frames, key)
    for start in range(0, len(clips), batch_size):
        which = np.arange(start, min(start + batch_size, len(clips)))
        yield cropped(clips, which, spans[which], n_frames)


def draw_views(
    examples: Examples, which: np.ndarray, n_frames: int, augment: Augment, rng: np.random.Generator
) -> Views:
    """Random spans of clips, each shifted, reversed and erased on its own."""
    rows = examples.rows[which]
    lengths = examples.store.lengths[rows]
    spans = draw_spans(rng, lengths, n_frames)
    drawn = draw_augmentation(rng, len(which), n_frames, examples.store.frames.shape[1], augment)
    indices = augment_indices(mirrored_spans(spans, n_frames, lengths), drawn)
    return Views(examples.store.starts[rows][:, None] + indices, drawn)


def mix(values: np.ndarray, partner: np.ndarray, weights: np.ndarray | np.float32) -> None:
    """``weights * values + (1 - weights) * partner``, in place of `values`; all float32, `weights` broadcast to them.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2017.
    """
    values -= partner
    values *= weights
    values += partner


def training_batch(
    examples: Examples,
    which: np.ndarray,
    partners: np.ndarray,
    *,
    bounds: tuple[int, int],
    step: int,
    augment: Augment,
    alpha: float,
    rng: np.random.Generator,
) -> Batch:
    """One batch of the recipe: one random T, both halves cropped and augmented independently, then mixed.

    Clips and partners share one weight a clip in their spectrograms, components and targets. Where clips have weights
    in the loss, each of the two labels counts with its own clip's: the loss is the mixture of both weighted losses.
    """
    n_frames = draw_length(rng, bounds, step=step)
    views = draw_views(examples, which, n_frames, augment, rng)
    if alpha == 0:
        components = None if examples.components is None else examples.components[which]
        in_loss = None if examples.weights is None else examples.weights[which]
        return Batch(images(examples.store, views), components, examples.targets[which], in_loss)
    partner_views = draw_views(examples, partners, n_frames, augment, rng)
    weights = rng.beta(alpha, alpha, len(which)).astype(np.float32)  # of each clip against its partner

    def mixed(values: np.ndarray) -> np.ndarray:
        rows = values[which]
        mix(rows, values[partners], weights[:, None])
        return rows

    components = None if examples.components is None else mixed(examples.components)
    mel = images(examples.store, views, (partner_views, weights))
    if examples.weights is None:
        return Batch(mel, components, mixed(examples.targets))
    weighted = mixed(examples.targets * examples.weights[:, None])  # (B, C)
    in_loss = weighted.sum(axis=1)
    return Batch(mel, components, weighted / in_loss[:, None], in_loss)


def prefetched(items: Iterable[Item]) -> Iterator[Item]:
    """The same batches, each made in a thread while the one before it is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, iterator, None)
        while (item := pending.result()) is not None:
            pending = pool.submit(next, iterator, None)
            yield item
