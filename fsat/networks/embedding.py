"""Embeddings of whole clips: the pooled features of a trunk with its initial weights, without augmentation."""

import math

import keras
import numpy as np
from tqdm import tqdm

from fsat.inputs.batches import STRIDE, mirror
from fsat.inputs.frames import FrameStore
from fsat.networks import backend

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


def embed(trunk: keras.Model, store: FrameStore, *, name: str) -> np.ndarray:
    """Embedding of every clip of a store, independent of all other clips.

    Parameters
    ----------
    trunk : keras.Model
        (B, M, T, 1) -> (B, m, t, C), such as `model.build_trunk("EfficientAT")`.
    name : str
        Shown by the progress bar; none if it is empty.

    Returns
    -------
    np.ndarray [shape=(n, C), dtype=float32]
        Mean of the trunk's features over bands and frames. For a clip of several `parts` the mean of theirs, weighted
        by their lengths: close to that of the whole, but each part's channels are scaled by its own content.
    """
    mel = keras.Input((store.frames.shape[1], None, 1), name="mel")
    predict = backend.predictor(keras.Model({"mel": mel}, keras.layers.GlobalAveragePooling2D()(trunk(mel))))
    rows = np.empty((len(store.fnames), trunk.output.shape[-1]), dtype=np.float32)
    for row, (start, n_frames) in enumerate(
        zip(store.starts, tqdm(store.lengths, desc=name, unit="clip", mininterval=5, disable=not name), strict=True)
    ):
        clip_parts = parts(int(n_frames))
        outputs = [predict({"mel": store.scale(store.frames[start + part]).T[None, :, :, None]}) for part in clip_parts]
        rows[row] = np.average(np.concatenate(outputs), axis=0, weights=[len(part) for part in clip_parts])
    return rows
