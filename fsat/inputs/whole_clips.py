"""Clips seen whole: in which parts a network reads a clip of any length, and its mean output over them."""

import math

import numpy as np
from tqdm import tqdm

from fsat.core.network import STRIDE
from fsat.inputs.batches import mirrored_spans, named_inputs
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
        start = np.array([-((STRIDE - n_frames) // 2)])
        return [mirrored_spans(start, STRIDE, np.array([n_frames]))[0]]
    return np.array_split(np.arange(n_frames), math.ceil(n_frames / LONGEST_PART))


def outputs(
    predict: Predictor,
    store: FrameStore,
    components: np.ndarray | None = None,
    *,
    n_outputs: int,
    name: str,
    batch_bins: int = 0,
) -> np.ndarray:
    """Output of a network for every clip of a store, each independent of all others.

    Parameters
    ----------
    predict : callable
        Of the inputs "mel" (B, M, T, 1), scaled to about [0, 1], and "pca" (B, P) where there are components: gives
        (B, `n_outputs`).
    components : np.ndarray [shape=(n, P), dtype=float32] or None
        Principal components of each clip.
    name : str
        Shown by the progress bar; none if it is empty.
    batch_bins : int
        Bins (bands x frames) that clips of one length share in a batch; fewer than a clip has: B is 1.

    Returns
    -------
    np.ndarray [shape=(n, n_outputs), dtype=float32]
        For a clip of several `parts` the mean of theirs, weighted by their lengths: close to that of the whole, but
        each part's channels are scaled by its own content.
    """
    rows = np.empty((len(store.fnames), n_outputs), dtype=np.float32)
    bar = tqdm(total=len(rows), desc=name, unit="clip", mininterval=5, disable=not name)
    for n_frames in np.unique(store.lengths):
        clip_parts = parts(int(n_frames))
        alike = np.flatnonzero(store.lengths == n_frames)
        size = max(1, batch_bins // (len(clip_parts[0]) * store.frames.shape[1]))
        for which in np.array_split(alike, range(size, len(alike), size)):
            own = None if components is None else components[which]
            frames = (store.scale(store.frames[store.starts[which, None] + part]) for part in clip_parts)  # (B, T, M)
            found = [predict(named_inputs(part.transpose(0, 2, 1)[..., None], own)) for part in frames]
            rows[which] = np.average(found, axis=0, weights=[len(part) for part in clip_parts])
            bar.update(len(which))
    bar.close()
    return rows
