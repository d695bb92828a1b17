"""Clips seen whole: in which parts a network reads a clip of any length, and its mean output over them."""

import math

import numpy as np
from tqdm import tqdm

from fsat.inputs.batches import STRIDE, mirror
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


def embed(predict: Predictor, store: FrameStore, *, n_outputs: int, name: str) -> np.ndarray:
    """Output of a network for every clip of a store, each independent of all others.

    Parameters
    ----------
    predict : callable
        Of the input "mel" (1, M, T, 1), scaled to about [0, 1]: gives (1, `n_outputs`).
    name : str
        Shown by the progress bar; none if it is empty.

    Returns
    -------
    np.ndarray [shape=(n, n_outputs), dtype=float32]
        For a clip of several `parts` the mean of theirs, weighted by their lengths: close to that of the whole, but
        each part's channels are scaled by its own content.
    """
    rows = np.empty((len(store.fnames), n_outputs), dtype=np.float32)
    for row, (start, n_frames) in enumerate(
        zip(store.starts, tqdm(store.lengths, desc=name, unit="clip", mininterval=5, disable=not name), strict=True)
    ):
        clip_parts = parts(int(n_frames))
        outputs = [predict({"mel": store.scale(store.frames[start + part]).T[None, :, :, None]}) for part in clip_parts]
        rows[row] = np.average(np.concatenate(outputs), axis=0, weights=[len(part) for part in clip_parts])
    return rows
