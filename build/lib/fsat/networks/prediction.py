"""Test-time augmentation: many passes over the same clips, each with fresh random spans, combined as mean log p."""

from collections.abc import Mapping

import keras
import numpy as np

from fsat.inputs.examples import Examples
from fsat.inputs.passes import Passes, Predictor, log_probabilities, outputs_by_pass
from fsat.networks import backend


def mean_log_probabilities(
    models: Mapping[str, keras.Model],
    examples: Examples,
    passes: Passes,
    *,
    batch_size: int,
    key: tuple[int | str, ...],
    name: str,
) -> dict[str, np.ndarray]:
    """Mean over all passes of log p, for several networks that see the same spans.

    Parameters
    ----------
    models : mapping of name to network
        Those with a "pca" input get the examples' components.
    key : tuple
        Seed and purpose of the spans; that of a clip in pass (T, try) has the key ``(*key, T, try, fname)``.
    name : str
        What the progress bar says; none is shown if it is empty.

    Returns
    -------
    dict of name to np.ndarray [shape=(n, C), dtype=float64]
        Natural logarithms; probabilities under `passes.EPSILON` count as that.
    """
    total = {model_name: np.zeros(examples.targets.shape) for model_name in models}
    if len(examples) == 0:
        return total
    predictors = {model_name: predictor(model) for model_name, model in models.items()}
    for outputs in outputs_by_pass(predictors, examples, passes, batch_size=batch_size, key=key, name=name):
        for model_name, output in outputs.items():
            total[model_name] += log_probabilities(output)
    return {model_name: value / len(passes) for model_name, value in total.items()}


def predictor(network: keras.Model) -> Predictor:
    """Function of a batch's inputs, of which a network takes those it has, that gives its output float32 (B, ...)."""
    function = backend.predictor(network)
    wanted = {tensor.name for tensor in network.inputs}
    return lambda inputs: function({name: value for name, value in inputs.items() if name in wanted})
