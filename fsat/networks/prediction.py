"""A network's outputs, probabilities and embedding, as one function of a batch's inputs."""

import keras

from fsat.inputs.passes import Predictor
from fsat.networks import backend


def predictor(network: keras.Model, *, embeddings: bool = False) -> Predictor:
    """Function of a batch's inputs, of which a network takes those it has, that gives its output float32 (B, C).

    With `embeddings` the output of the layer "embedding" follows it: (B, C + E).
    """
    if embeddings:
        both = keras.layers.Concatenate(dtype="float32")([network.output, network.get_layer("embedding").output])
        network = keras.Model(network.inputs, both)
    function = backend.predictor(network)
    wanted = {tensor.name for tensor in network.inputs}
    return lambda inputs: function({name: value for name, value in inputs.items() if name in wanted})
