"""Clips seen whole: in which parts a network reads a clip of any length, and its mean output over them."""

import math

import numpy as np
from tqdm import tqdm

from fsat.core.network import STRIDE
from fsat.inputs.batches import mirror, named_inputs
from fsat.inputs.frames import FrameStore
from fsat.inputs.passes import Predictor

# 30 s of 10 ms. A longer clip is seen in parts, so that memory does not grow with it.
LONGEST_PART = 3000


def parts(n_frames: int) -> list[np.ndarray]:
    """Frame numbers of the parts in which a clip is seen, each int64 (T,) with T from `STRIDE` to `LONGEST_PART`.

    One part, all frames, for a usual clip. A longer one is cut into the fewest parts of equal length (to one frame);
    a shorter one is padded by reflection on both sides.

    >>> parts(33)[0].size, parts(3)[0].size, [part.size for part in parts(7000)]
    (33, 32, [2334, 2333, 2333])
    """
    if n_frames < STRIDE:
        span = np.arange(STRIDE) - (STRIDE - n_frames) // 2
        return [mirror(span[None], np.array([n_frames]))[0]]
    return np.array_split(np.arange(n_frames), math.ceil(n_frames / LONGEST_PART))


def outputs(
    predict: Predictor, store: FrameStore, components: np.ndarray | None = None, *, n_outputs: int, name: str
) -> np.ndarray:
    """Output of a network for every clip of a store, each independent of all others.

    Parameters
    ----------
    predict : callable
        Of the inputs "mel" (1, M, T, 1), scaled to about [0, 1], and "pca" (1, P) where there are components: gives
        (1, `n_outputs`).
    components : np.ndarray [shape=(n, P), dtype=float32] or None
        Principal components of each clip.
    name : str
        Shown by the progress bar; none if it is empty.

    Returns
    -------
    np.ndarray [shape=(n, n_outputs), dtype=float32]
        For a clip of several `parts` the mean of theirs, weighted by their lengths: close to that of the whole, but
        each part's channels are scaled by its own content.
    """
    rows = np.empty((len(store.fnames), n_outputs), dtype=np.float32)
    for row in tqdm(range(len(rows)), desc=name, unit="clip", mininterval=5, disable=not name):
        clip_parts = parts(int(store.lengths[row]))
        own = None if components is None else components[row : row + 1]
        mels = (store.scale(store.frames[store.starts[row] + part]).T[None, :, :, None] for part in clip_parts)
        found = [predict(named_inputs(mel, own)) for mel in mels]
        rows[row] = np.average(np.concatenate(found), axis=0, weights=[len(part) for part in clip_parts])
    return rows
