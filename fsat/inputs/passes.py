"""The passes of test-time augmentation: which spans of the clips a network sees, and its outputs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from fsat.inputs import batches
from fsat.inputs.examples import Examples

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


def outputs_by_pass(
    predictors: Mapping[str, Predictor],
    examples: Examples,
    passes: Passes,
    *,
    batch_size: int,
    key: tuple[int | str, ...],
    name: str,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield for each pass what every network gives for all clips, (n, ...); see `prediction.mean_outputs`."""
    for n_frames, number in tqdm(passes, desc=name, unit="pass", mininterval=5, disable=not name):
        outputs: dict[str, list[np.ndarray]] = {predictor_name: [] for predictor_name in predictors}
        for batch in batches.prefetched(batches.crop_pass(examples, n_frames, batch_size, (*key, n_frames, number))):
            for predictor_name, function in predictors.items():
                outputs[predictor_name].append(function(batch.inputs))
        yield {predictor_name: np.concatenate(parts) for predictor_name, parts in outputs.items()}


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Natural logarithm of probabilities no smaller than `EPSILON`, float64."""
    return np.log(np.maximum(probabilities.astype(np.float64), EPSILON))
