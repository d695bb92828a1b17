"""Test-time augmentation: many passes over the same clips, each with fresh random spans, combined as mean log p."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np
from tqdm import tqdm

from fsat import batches, runtime
from fsat.examples import Examples

# Smallest probability a logarithm is taken of: far from the float32 subnormals that 1e-38 would reach.
EPSILON = 1e-7

Predictor = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Passes:
    """The passes of one fold: each of `lengths` (frames), `tries` times."""

    lengths: list[int]
    tries: int

    def __len__(self) -> int:
        return len(self.lengths) * self.tries

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(T, try) of each pass."""
        return ((n_frames, number) for n_frames in self.lengths for number in range(self.tries))


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
        Natural logarithms; probabilities under `EPSILON` count as `EPSILON`.
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
    function = runtime.predictor(network)
    wanted = {tensor.name for tensor in network.inputs}
    return lambda inputs: function({name: value for name, value in inputs.items() if name in wanted})


def outputs_by_pass(
    predictors: Mapping[str, Predictor],
    examples: Examples,
    passes: Passes,
    *,
    batch_size: int,
    key: tuple[int | str, ...],
    name: str,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield for each pass what every network gives for all clips, (n, ...); see `mean_log_probabilities`."""
    for n_frames, number in tqdm(passes, desc=name, unit="pass", mininterval=5, disable=not name):
        outputs: dict[str, list[np.ndarray]] = {predictor_name: [] for predictor_name in predictors}
        for batch in batches.prefetched(batches.crop_pass(examples, n_frames, batch_size, (*key, n_frames, number))):
            for predictor_name, function in predictors.items():
                outputs[predictor_name].append(function(batch.inputs))
        yield {predictor_name: np.concatenate(parts) for predictor_name, parts in outputs.items()}


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Natural logarithm of probabilities no smaller than `EPSILON`, float64."""
    return np.log(np.maximum(probabilities.astype(np.float64), EPSILON))
