"""The passes of test-time augmentation: which spans of the clips a network sees, and its mean outputs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from fsat.core.numeric import log_probabilities
from fsat.inputs import batches
from fsat.inputs.examples import Clips

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


@dataclass(frozen=True)
class Outputs:
    """What a network gives for n clips, mean over the passes."""

    log_probabilities: np.ndarray  # float64 (n, C), natural; probabilities under `numeric.EPSILON` count as that
    embeddings: np.ndarray  # float64 (n, E), features after pooling; E is 0 where the network gives none


def mean_outputs(
    predictors: Mapping[str, Predictor],
    clips: Clips,
    passes: Passes,
    *,
    n_labels: int,
    batch_size: int,
    key: tuple[int | str, ...],
    name: str,
) -> dict[str, Outputs]:
    """Mean over all passes, for several networks that see the same spans.

    Parameters
    ----------
    predictors : mapping of name to function
        Gives a network's outputs for a batch's inputs: C = `n_labels` probabilities, then E features.
    key : tuple
        Seed and purpose of the spans; that of a clip in pass (T, try) has the key ``(*key, T, try, fname)``.
    name : str
        What the progress bar says; none is shown if it is empty.
    """
    if len(clips) == 0:
        return {model: Outputs(np.zeros((0, n_labels)), np.zeros((0, 0))) for model in predictors}
    totals: dict[str, np.ndarray] = {}
    for outputs in outputs_by_pass(predictors, clips, passes, batch_size=batch_size, key=key, name=name):
        for model, output in outputs.items():
            values = np.concatenate([log_probabilities(output[:, :n_labels]), output[:, n_labels:]], axis=1)  # float64
            totals[model] = totals[model] + values if model in totals else values
    means = {model: total / len(passes) for model, total in totals.items()}
    return {model: Outputs(mean[:, :n_labels], mean[:, n_labels:]) for model, mean in means.items()}


def outputs_by_pass(
    predictors: Mapping[str, Predictor],
    clips: Clips,
    passes: Passes,
    *,
    batch_size: int,
    key: tuple[int | str, ...],
    name: str,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield for each pass what every network gives for all clips, (n, ...); see `mean_outputs`."""
    for n_frames, number in tqdm(passes, desc=name, unit="pass", mininterval=5, leave=False, disable=not name):
        outputs: dict[str, list[np.ndarray]] = {model: [] for model in predictors}
        for inputs in batches.prefetched(batches.crop_pass(clips, n_frames, batch_size, (*key, n_frames, number))):
            for model, predict in predictors.items():
                outputs[model].append(predict(inputs))
        yield {model: np.concatenate(parts) for model, parts in outputs.items()}
