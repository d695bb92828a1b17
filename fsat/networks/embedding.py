"""Embeddings of whole clips: the pooled features of a trunk with its initial weights, without augmentation."""

import keras
import numpy as np

from fsat.inputs import whole_clips
from fsat.inputs.frames import FrameStore
from fsat.networks import backend


def build(trunk: keras.Model, n_mels: int) -> keras.Model:
    """Network from the input "mel" (B, M, T, 1) to the embedding (B, C): a trunk's features (B, m, t, C), pooled."""
    mel = keras.Input((n_mels, None, 1), name="mel")
    return keras.Model({"mel": mel}, keras.layers.GlobalAveragePooling2D(name="embedding")(trunk(mel)))


def embed(trunk: keras.Model, store: FrameStore, *, name: str) -> np.ndarray:
    """Embedding of every clip of a store, float32 (n, C): features averaged over bands and frames (`whole_clips`)."""
    predict = backend.predictor(build(trunk, store.frames.shape[1]))
    return whole_clips.outputs(predict, store, n_outputs=trunk.output.shape[-1], name=name)
