"""What tagging gives: of a sound or a window of it, of a file that could not be tagged, of the end of one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fsat.scoring.ranking import top_k


@dataclass(frozen=True)
class Tagged:
    """What the models say about a sound, or about a window of it from `start_s` to `end_s`.

    Attributes
    ----------
    labels : sequence of str, length C
    probabilities : np.ndarray [shape=(C,), dtype=float64]
        In the order of the labels; the sum is 1 where the bundle's activation is softmax.
    embedding : np.ndarray [shape=(E,), dtype=float32] or None
        The trunk's features after pooling (1280 for MobileNetV2 at width 1.0), mean over all passes and folds; without
        networks the view `last`.
    unknown_score : float or None
        How unlike the training clips the sound is, 0 to 2 (`scoring.unknown.score`). None if the bundle cannot tell.
    unknown : bool or None
        Whether the score is above the bundle's threshold: probably none of the labels.
    """

    path: str
    start_s: float
    end_s: float
    labels: Sequence[str]
    probabilities: np.ndarray
    embedding: np.ndarray | None
    unknown_score: float | None = None
    unknown: bool | None = None

    def top(self, k: int = 3) -> list[tuple[str, float]]:
        """The `k` most probable labels with their probabilities, best first."""
        return [(self.labels[number], float(self.probabilities[number])) for number in top_k(self.probabilities, k)]


@dataclass(frozen=True)
class Failed:
    """A file that could not be tagged, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Ended:
    """A file whose windows have all come; `seconds` is its length, 0 where nobody needs it."""

    path: str
    seconds: float = field(default=0.0, compare=False)
