"""Test-time augmentation: many passes over the same clips, each with fresh random spans, combined as means."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from fsat.inputs.examples import Examples
from fsat.inputs.passes import Passes, Predictor, log_probabilities, outputs_by_pass
from fsat.networks import backend


@dataclass(frozen=True)
class Outputs:
    """What a network gives for n clips, mean over the passes.

    Attributes
    ----------
    log_probabilities : np.ndarray [shape=(n, C), dtype=float64]
        Natural logarithms; probabilities under `passes.EPSILON` count as that.
    embeddings : np.ndarray [shape=(n, E), dtype=float64]
        Features after pooling; E is 0 where they were not asked for.
    """

    log_probabilities: np.ndarray
    embeddings: np.ndarray


def mean_outputs(
    models: Mapping[str, keras.Model],
    examples: Examples,
    passes: Passes,
    *,
    batch_size: int,
    key: tuple[int | str, ...],
    name: str,
    embeddings: bool = False,
) -> dict[str, Outputs]:
    """Mean over all passes, for several networks that see the same spans.

    Parameters
    ----------
    models : mapping of name to network
        Those with a "pca" input get the examples' components.
    key : tuple
        Seed and purpose of the spans; that of a clip in pass (T, try) has the key ``(*key, T, try, fname)``.
    name : str
        What the progress bar says; none is shown if it is empty.
    embeddings : bool
        Also give the output of the layer "embedding".
    """
    n_classes = examples.targets.shape[1]
    logs = {model_name: np.zeros(examples.targets.shape) for model_name in models}
    widths = {
        model_name: int(model.get_layer("embedding").output.shape[-1]) if embeddings else 0
        for model_name, model in models.items()
    }
    features = {model_name: np.zeros((len(examples), width)) for model_name, width in widths.items()}
    if len(examples):
        predictors = {model_name: predictor(model, embeddings=embeddings) for model_name, model in models.items()}
        for outputs in outputs_by_pass(predictors, examples, passes, batch_size=batch_size, key=key, name=name):
            for model_name, output in outputs.items():
                logs[model_name] += log_probabilities(output[:, :n_classes])
                features[model_name] += output[:, n_classes:]
    return {
        model_name: Outputs(logs[model_name] / len(passes), features[model_name] / len(passes)) for model_name in models
    }


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
