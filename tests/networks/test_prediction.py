"""A network as one function of a batch's inputs."""

import keras
import numpy as np

from fsat.networks import prediction


def test_the_embedding_follows_the_probabilities() -> None:
    mel = keras.layers.Input((8, None, 1), name="mel")
    pooled = keras.layers.GlobalAveragePooling2D(name="embedding")(keras.layers.Conv2D(4, 1)(mel))
    network = keras.Model({"mel": mel}, keras.layers.Dense(2, activation="softmax")(pooled))
    mels = np.random.default_rng(0).normal(size=(3, 8, 20, 1)).astype(np.float32)
    inputs: dict[str, np.ndarray] = {"mel": mels, "pca": np.zeros((3, 2))}
    both = prediction.predictor(network, embeddings=True)(inputs)
    parts = (network, keras.Model(network.inputs, pooled))
    np.testing.assert_array_equal(both, np.concatenate([prediction.predictor(part)(inputs) for part in parts], axis=1))
