"""Late fusion: the log p of a logistic regression beside those of the networks, with a weight."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from fsat.core.errors import FsatError
from fsat.core.numeric import log_probabilities
from fsat.scoring import ensemble
from fsat.scoring.names import REGRESSION_ALL, SUBMISSION

# Largest weight of the regression: with it the networks hardly count.
MAX_WEIGHT = 10.0


def choose_weights(
    predictions: "pd.DataFrame", regression: "pd.DataFrame", labels: Mapping[str, str]
) -> dict[int, float]:
    """Weight of the regression in late fusion for each fold, chosen on the held-out clips of the other folds (nested).

    As in any stacking, the models of those other folds did learn from the clip.

    Parameters
    ----------
    predictions, regression : pd.DataFrame
        As of `submission`.
    labels : mapping of fname to label
        Of held-out clips; those without are left out.

    Returns
    -------
    dict of fold to float
        0 to `MAX_WEIGHT`, rounded to 4 decimals; fold -1 (test clips) is chosen on all held-out clips. With a single
        fold there is nothing to choose its own weight by: 0.
    """
    heldout = predictions[(predictions["model"] == "stage2") & (predictions["split"] == "heldout")]
    ids = heldout["fold"].unique()
    heldout = heldout[heldout["fname"].isin(labels)]
    classes = list(predictions.columns[4:])
    targets = np.array([classes.index(labels[fname]) for fname in heldout["fname"]])
    tables = heldout[classes].to_numpy(np.float64), _regression_of(heldout, regression, classes)
    fold = heldout["fold"].to_numpy()

    def chosen(rows: np.ndarray) -> float:
        networks, others = (table[rows] for table in tables)
        return _best_weight(networks, others, targets[rows]) if rows.any() else 0.0

    return {-1: chosen(fold >= 0), **{int(one): chosen(fold != one) for one in ids}}


def _best_weight(networks: np.ndarray, regression: np.ndarray, targets: np.ndarray) -> float:
    """Weight b / a of the lowest log loss of softmax(a log p + b log q), a and b at least 0: a convex problem."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    logs = np.stack([log_probabilities(networks), log_probabilities(regression)])  # (2, n, C)
    rows = np.arange(len(targets))

    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        unscaled = np.tensordot(factors, logs, axes=1)
        log_p = unscaled - logsumexp(unscaled, axis=1, keepdims=True)
        gradient = ((np.exp(log_p) * logs).sum(axis=2) - logs[:, rows, targets]).mean(axis=1)
        return float(-log_p[rows, targets].mean()), gradient

    network_factor, other_factor = minimize(loss, [0.5, 0.5], jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2).x
    return round(float(min(other_factor / max(network_factor, 1e-9), MAX_WEIGHT)), 4)


def submission(
    predictions: "pd.DataFrame", regression: "pd.DataFrame", *, weights: Mapping[int, float]
) -> "pd.DataFrame":
    """Rows of the model "submission": stage 2, with late fusion where a weight is not 0.

    Fused probabilities are those of stage 2 times the regression's to the power of a weight, scaled to a sum of 1 a
    clip. `FsatError` if a clip has no prediction by the regression.

    Parameters
    ----------
    predictions, regression : pd.DataFrame
        Columns of `ensemble.combine`; of the regressions "regression_all" is used, whose held-out clips are out of
        fold too. Probabilities under `numeric.EPSILON` count as that.
    weights : mapping of fold to float
        Of the held-out clips of each fold, and of the test clips (fold -1); without a key: 0.
    """
    result = predictions[predictions["model"] == "stage2"].assign(model=SUBMISSION)
    if any(weights.values()):
        labels = list(predictions.columns[4:])
        weight = result["fold"].map(weights).fillna(0.0).to_numpy()[:, None]
        others = _regression_of(result, regression, labels)
        result[labels] = fuse_probabilities(result[labels].to_numpy(np.float64), others, weight=weight)
    return result


def _regression_of(networks: "pd.DataFrame", regression: "pd.DataFrame", labels: list[str]) -> np.ndarray:
    """Probabilities (n, C) of the regression to fuse with, in the order of the rows of `networks`."""
    import pandas as pd

    keys = ["split", "fold", "fname"]
    wanted = pd.MultiIndex.from_frame(networks[keys])
    others = regression[regression["model"] == REGRESSION_ALL].set_index(keys)[labels].reindex(wanted)
    if others.isna().any(axis=None):
        clip = others.index[others.isna().any(axis=1)][0][-1]
        raise FsatError(f"data/baseline.parquet has no prediction of clip {clip}. Run `dvc repro`.")
    return others.to_numpy(np.float64)


def fuse_probabilities(networks: np.ndarray, regression: np.ndarray, *, weight: float | np.ndarray) -> np.ndarray:
    """Late fusion of probabilities (n, C) with one weight, or with one a clip (n, 1); see `submission`.

    >>> fuse_probabilities(np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]]), weight=0.5).round(2)
    array([[0.75, 0.25]])
    """
    return ensemble.geometric_mean([log_probabilities(networks) + weight * log_probabilities(regression)])
