"""The most probable labels of a clip."""

import numpy as np


def top_k(scores: np.ndarray, k: int = 3) -> np.ndarray:
    """The k best classes of each clip, best first: scores (..., n_classes) -> int64 (..., min(k, n_classes)).

    Equal scores: the class with the lower index, that is the label that comes first in the alphabet. NaN comes last.

    >>> top_k(np.array([[0.2, 0.5, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    array([[1, 2, 0],
           [0, 1, 2]])
    """
    best: np.ndarray = np.argsort(-np.asarray(scores), axis=-1, kind="stable")[..., :k]
    return best
