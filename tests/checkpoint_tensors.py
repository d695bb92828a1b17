"""What a published checkpoint of EfficientAT would hold, from a network in Keras."""

import keras
import numpy as np

from fsat.networks import efficientat


def tensors_of(network: keras.Model) -> dict[str, np.ndarray]:
    """What a checkpoint of the network would hold, in PyTorch's layout."""
    found = {}
    for layer in [*network.layers, *network.get_layer("trunk").layers]:
        if layer.name == "trunk" or not layer.weights:
            continue
        for name, value in zip(efficientat._tensor_names(layer), layer.get_weights(), strict=True):
            axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
            found[f"{layer.name}.{name}"] = value.transpose(axes) if value.ndim == 4 else value.T
    return found
