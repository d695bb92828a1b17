"""The most probable labels of a clip."""

import numpy as np


def top_k(scores: np.ndarray, k: int = 3) -> np.ndarray:
    """The k best classes of each clip, best first.

    Equal scores: the class with the lower index, that is the label that comes first in the alphabet. NaN comes last.

    Parameters
    ----------
    scores : np.ndarray [shape=(..., n_classes)]

    Returns
    -------
    np.ndarray [shape=(..., min(k, n_classes)), dtype=int64]

    Examples
    --------
    >>> top_k(np.array([[0.2, 0.5, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    array([[1, 2, 0],
           [0, 1, 2]])
    """
    best: np.ndarray = np.argsort(-np.asarray(scores), axis=-1, kind="stable")[..., :k]
    return best
