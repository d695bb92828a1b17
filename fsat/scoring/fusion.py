"""Late fusion: the log p of a logistic regression beside those of the networks, with a weight."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from fsat.core.errors import FsatError
from fsat.scoring import ensemble
from fsat.scoring.names import FUSED

# Smallest probability that a logarithm is taken of.
EPSILON = 1e-7
# Largest weight of the baseline: with it the networks hardly count.
MAX_WEIGHT = 10.0


def choose_weights(
    predictions: "pd.DataFrame", baseline: "pd.DataFrame", labels: Mapping[str, str]
) -> dict[int, float]:
    """Weight of the baseline in late fusion for each fold, chosen on the held-out clips of the other folds.

    So no held-out clip has a say in its own weight, and a cross-validated score of the result is an honest one, but for
    what every stacking shares: the clip was among those that the models of the other folds learned from.

    Parameters
    ----------
    predictions, baseline : pd.DataFrame
        As of `fuse`.
    labels : mapping of fname to label
        Of held-out clips; others have no say.

    Returns
    -------
    dict of fold to float
        0 to `MAX_WEIGHT`, rounded to 4 decimals; fold -1 (test clips) is chosen on all held-out clips. With a single
        fold there is nothing to choose its own weight by: 0.
    """
    heldout = predictions[(predictions["stage"] == "stage2") & (predictions["split"] == "heldout")]
    ids = heldout["fold"].unique()
    heldout = heldout[heldout["fname"].isin(labels)]
    classes = list(predictions.columns[4:])
    targets = np.array([classes.index(labels[fname]) for fname in heldout["fname"]])
    tables = heldout[classes].to_numpy(np.float64), _baseline_of(heldout, baseline, classes)
    fold = heldout["fold"].to_numpy()

    def chosen(rows: np.ndarray) -> float:
        networks, others = (table[rows] for table in tables)
        return _best_weight(networks, others, targets[rows]) if rows.any() else 0.0

    return {-1: chosen(fold >= 0), **{int(one): chosen(fold != one) for one in ids}}


def _best_weight(networks: np.ndarray, baseline: np.ndarray, targets: np.ndarray) -> float:
    """Weight b / a of the lowest log loss of softmax(a log p + b log q), a and b at least 0: a convex problem."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    logs = np.stack([_logarithm(networks), _logarithm(baseline)])  # (2, n, C)
    rows = np.arange(len(targets))

    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        unscaled = np.tensordot(factors, logs, axes=1)
        log_p = unscaled - logsumexp(unscaled, axis=1, keepdims=True)
        gradient = ((np.exp(log_p) * logs).sum(axis=2) - logs[:, rows, targets]).mean(axis=1)
        return float(-log_p[rows, targets].mean()), gradient

    networks_factor, baseline_factor = minimize(loss, [0.5, 0.5], jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2).x
    return round(float(min(baseline_factor / max(networks_factor, 1e-9), MAX_WEIGHT)), 4)


def fuse(predictions: "pd.DataFrame", baseline: "pd.DataFrame", *, weights: Mapping[int, float]) -> "pd.DataFrame":
    """Late fusion: stage 2 times the baseline's probabilities to the power of a weight, scaled to a sum of 1 a clip.

    Parameters
    ----------
    predictions, baseline : pd.DataFrame
        Columns of `ensemble.combine`; of the baseline the stage "fused" is used, whose held-out clips are out of fold
        too. Probabilities under `EPSILON` count as that.
    weights : mapping of fold to float
        Of the held-out clips of each fold, and of the test clips (fold -1); without a key: 0.

    Returns
    -------
    pd.DataFrame
        `predictions`, those of stage 2 fused; `predictions` itself where all weights are 0.

    Raises
    ------
    FsatError
        If a clip has no prediction by the baseline.
    """
    if not any(weights.values()):
        return predictions
    labels = list(predictions.columns[4:])
    is_stage2 = predictions["stage"] == "stage2"
    networks = predictions.loc[is_stage2]
    weight = networks["fold"].map(weights).fillna(0.0).to_numpy()[:, None]
    others = _baseline_of(networks, baseline, labels)
    result = predictions.copy()
    result.loc[is_stage2, labels] = fuse_probabilities(networks[labels].to_numpy(np.float64), others, weight=weight)
    return result


def _baseline_of(networks: "pd.DataFrame", baseline: "pd.DataFrame", labels: list[str]) -> np.ndarray:
    """Probabilities (n, C) of the regression to fuse with, in the order of the rows of `networks`."""
    import pandas as pd

    keys = ["split", "fold", "fname"]
    wanted = pd.MultiIndex.from_frame(networks[keys])
    others = baseline[baseline["stage"] == FUSED].set_index(keys)[labels].reindex(wanted)
    if others.isna().any(axis=None):
        clip = others.index[others.isna().any(axis=1)][0][-1]
        raise FsatError(f"data/baseline.parquet has no prediction of clip {clip}. Run `dvc repro`.")
    return others.to_numpy(np.float64)


def fuse_probabilities(networks: np.ndarray, baseline: np.ndarray, *, weight: float | np.ndarray) -> np.ndarray:
    """Late fusion of probabilities (n, C) with one weight, or with one a clip (n, 1); see `fuse`.

    >>> fuse_probabilities(np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]]), weight=0.5).round(2)
    array([[0.75, 0.25]])
    """
    return ensemble.geometric_mean([_logarithm(networks) + weight * _logarithm(baseline)])


def _logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Log p; a probability of 0 has none, and counts as `EPSILON`."""
    logarithm: np.ndarray = np.log(np.maximum(probabilities, EPSILON))
    return logarithm
