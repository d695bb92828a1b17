"""Embeddings of whole clips: the pooled features of a trunk with its initial weights, without augmentation."""

import keras
import numpy as np

from fsat.inputs import whole_clips
from fsat.inputs.frames import FrameStore
from fsat.networks import backend


def build(trunk: keras.Model, n_mels: int) -> keras.Model:
    """Network from the input "mel" (B, M, T, 1) to the embedding (B, C): the trunk's features, pooled.

    Parameters
    ----------
    trunk : keras.Model
        (B, M, T, 1) -> (B, m, t, C), such as `model.build_trunk("EfficientAT")`.
    """
    mel = keras.Input((n_mels, None, 1), name="mel")
    return keras.Model({"mel": mel}, keras.layers.GlobalAveragePooling2D(name="embedding")(trunk(mel)))


def embed(trunk: keras.Model, store: FrameStore, *, name: str) -> np.ndarray:
    """Embedding of every clip of a store; see `whole_clips.outputs`.

    Returns
    -------
    np.ndarray [shape=(n, C), dtype=float32]
        Mean of the trunk's features over bands and frames.
    """
    predict = backend.predictor(build(trunk, store.frames.shape[1]))
    return whole_clips.outputs(predict, store, n_outputs=trunk.output.shape[-1], name=name)
