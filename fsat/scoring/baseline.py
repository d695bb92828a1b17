"""Logistic regressions on clip-level features, held out by the same folds as the networks."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsat.core import parallel
from fsat.core.errors import FsatError
from fsat.core.network import output_labels
from fsat.core.numeric import log_probabilities, one_blas_thread
from fsat.scoring import ensemble

# Inverse strengths of the L2 penalty, the strongest penalty first. The one with the lowest log loss in a
# cross-validation inside the clips that are fitted on is used.
CANDIDATES, INNER_FOLDS = (0.003, 0.01, 0.03, 0.1, 0.3), 3
# Where there are too few clips to choose by: near the lowest log loss of 2 to 5 real clips a label.
UNCHOSEN = 0.1
# A feature whose standard deviation is a smaller share of the largest one holds rounding alone, and is left out.
CONSTANT = 1e-5
# Numbers to fit on; with fewer, worker processes take longer to start than to fit.
_SMALL = 200_000
# Bias of a class without a clip: its probability is 0.
_NEVER = -1e9


@dataclass(frozen=True)
class Regression:
    """A fitted multinomial logistic regression for features as they are.

    Attributes
    ----------
    weights : np.ndarray [shape=(C, k), dtype=float64]
    bias : np.ndarray [shape=(C,), dtype=float64]
    c : float
        The penalty, one of `CANDIDATES`.
    is_chosen : bool
        Whether there was something to choose it by.
    """

    weights: np.ndarray
    bias: np.ndarray
    c: float
    is_chosen: bool

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities, float64 (n, C), of features (n, k)."""
        with one_blas_thread():
            return ensemble.linear(features, self.weights, self.bias)


def fit(
    features: np.ndarray,
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    standardise: bool = True,
) -> Regression:
    """Fit a multinomial logistic regression, with the best penalty of `CANDIDATES`.

    With fewer than `INNER_FOLDS` clips (or groups) of a label there is nothing to choose by, and `UNCHOSEN` is used.

    Parameters
    ----------
    features : np.ndarray [shape=(n, k)]
        Of the clips that have `labels`.
    classes : sequence of str
        All labels, in the order of the probabilities; one without a clip gets 0.
    weights : np.ndarray [shape=(n,)], optional
        Of the clips in the loss; 1 each without.
    groups : sequence of str, length n, optional
        Recordings that the clips were cut from; the penalty is chosen without splitting one.
    standardise
        Whether each feature is scaled to mean 0 and variance 1 before it is penalised; one that hardly varies is left
        out (`CONSTANT`).
    """
    coefficients = np.zeros((len(classes), features.shape[1]))
    bias = np.full(len(classes), _NEVER)
    rows = [list(classes).index(label) for label in sorted(set(labels))]
    bias[rows] = 0.0
    if len(rows) == 1:
        return Regression(coefficients, bias, UNCHOSEN, is_chosen=False)
    values, names = features.astype(np.float64), np.array(labels)
    with one_blas_thread():
        chosen = _chosen(values, names, weights, groups, standardise=standardise)
        fits = _path(values, names, weights, standardise=standardise)
        c = UNCHOSEN if chosen is None else chosen
        for _ in range(CANDIDATES.index(c) + 1):
            coefficients[rows], bias[rows] = next(fits)
    return Regression(coefficients, bias, c, is_chosen=chosen is not None)


def _path(
    values: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, *, standardise: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weights (C, k) and bias (C,) for each of `CANDIDATES`, each fit starting from the one before."""
    # scikit-learn takes about a second to import.
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=standardise, with_std=standardise).fit(values)
    if standardise:
        deviations = np.sqrt(scaler.var_)
        scaler.scale_[deviations < CONSTANT * deviations.max()] = np.inf
    scaled = scaler.transform(values)  # (n, k)
    axes = None
    if len(scaled) < scaled.shape[1]:
        # An L2 penalty does not depend on the axes, and n clips have only n: the same fit in less time.
        axes = np.linalg.svd(scaled, full_matrices=False)[2]  # (n, k)
        scaled = scaled @ axes.T
    model = LogisticRegression(max_iter=1000, warm_start=True)
    for c in CANDIDATES:
        model.set_params(C=c).fit(scaled, labels, sample_weight=weights)
        coefficients, bias = model.coef_, model.intercept_
        if axes is not None:
            coefficients = coefficients @ axes
        if standardise:
            coefficients = coefficients / scaler.scale_
            bias = bias - coefficients @ scaler.mean_
        if len(bias) == 1:  # of two labels scikit-learn keeps the second one's alone
            coefficients, bias = np.concatenate([0 * coefficients, coefficients]), np.append(0.0, bias)
        yield coefficients, bias


def _chosen(
    values: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    groups: Sequence[str] | None,
    *,
    standardise: bool,
) -> float | None:
    """The best penalty of `CANDIDATES`; None where there is nothing to choose by."""
    splits = _inner_folds(labels, groups)
    classes = np.unique(labels)
    counted = np.ones(len(labels)) if weights is None else weights
    losses = np.zeros(len(CANDIDATES))
    for known, others in splits:
        targets = np.searchsorted(classes, labels[others])
        of_known = None if weights is None else weights[known]
        for number, found in enumerate(_path(values[known], labels[known], of_known, standardise=standardise)):
            log_p = log_probabilities(ensemble.linear(values[others], *found))[np.arange(len(others)), targets]
            losses[number] -= np.average(log_p, weights=counted[others])
    return CANDIDATES[int(np.argmin(losses))] if splits else None


def _inner_folds(labels: np.ndarray, groups: Sequence[str] | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows to score, stratified, no group in both; none where a fit would not see each label."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    n_groups = INNER_FOLDS if groups is None else len(set(groups))
    if n_groups < INNER_FOLDS or min(Counter(labels.tolist()).values()) < INNER_FOLDS:
        return []
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splits = list(kind(INNER_FOLDS, shuffle=True, random_state=0).split(np.zeros(len(labels)), labels, groups))
    n_labels = len(set(labels.tolist()))
    if any(len(set(labels[rows].tolist())) < n_labels for split in splits for rows in split):
        return []
    return splits


@dataclass(frozen=True)
class Predicted:
    """What `predict` found.

    Attributes
    ----------
    table : pd.DataFrame
        Like `data/predictions.parquet`: model, split (heldout, test), fold (-1 for test), fname, then a column of
        probabilities a label, in the order of `network.output_labels`.
    regressions : dict of fold to Regression
        That of each fold, and under -1 the one that was fitted on all training clips.
    """

    table: pd.DataFrame
    regressions: dict[int, Regression]


def predict(
    features: Mapping[str, pd.DataFrame],
    folds: pd.DataFrame,
    ids: Sequence[int],
    *,
    model: str,
    heldout: Callable[[int], pd.DataFrame] | None = None,
    standardise: bool = True,
) -> Predicted:
    """Out-of-fold predictions of the held-out clips, and predictions of the test clips by a fit on all training clips.

    Folds are fitted side by side (`parallel.map_clips`). `FsatError` if a training clip has no features.

    Parameters
    ----------
    features : mapping of "train" and "test" to pd.DataFrame
        Column fname, then the features: a row a clip.
    folds : pd.DataFrame
        `data/folds.csv`: the training clips. Corrected labels and weights are fitted on. With a column `group` the
        penalty is chosen without splitting a group.
    ids
        Folds whose held-out clips are predicted: `folds.ids`.
    model
        Name of the regression in the table.
    heldout
        Features of the training clips for a fold, where these were themselves fitted on the clips of the other folds;
        without it ``features["train"]``.
    standardise
        See `fit`.
    """
    fits = (*sorted(ids), -1)  # -1: no clip is held out
    tasks = [_task(features, folds, fold, heldout=heldout, standardise=standardise) for fold in fits]
    parts, regressions = [], {}
    jobs = 1 if max(task.known.size for task in tasks) < _SMALL else None
    found = parallel.map_clips(_fit_and_predict, tasks, desc=f"regression {model}", unit="fit", jobs=jobs)
    for fold, task, (regression, probabilities) in zip(fits, tasks, found, strict=True):
        split = "test" if fold == -1 else "heldout"
        keys = pd.DataFrame({"model": model, "split": split, "fold": fold, "fname": task.others.index.to_numpy(object)})
        parts.append(pd.concat([keys, pd.DataFrame(probabilities, columns=task.classes)], axis=1))
        regressions[fold] = regression
    return Predicted(pd.concat(parts, ignore_index=True), regressions)


@dataclass(frozen=True)
class _Task:
    """A fit: features (n, k) of the clips to fit on, features (m, k) of those to predict, by name, and `fit`'s rest."""

    known: np.ndarray
    others: pd.DataFrame
    labels: list[str]
    classes: list[str]
    options: dict[str, Any]


def _task(
    features: Mapping[str, pd.DataFrame],
    folds: pd.DataFrame,
    fold: int,
    *,
    heldout: Callable[[int], pd.DataFrame] | None,
    standardise: bool,
) -> _Task:
    fit_on = folds[(folds["fold"] != fold) & (folds["weight"] > 0)]
    train = (features["train"] if heldout is None or fold == -1 else heldout(fold)).set_index("fname")
    if missing := set(folds["fname"]) - set(train.index):
        raise FsatError(f"no features of training clip {min(missing)}. Run `dvc repro`.")
    is_held_out = folds["fold"] == fold
    others = features["test"].set_index("fname") if fold == -1 else train.loc[folds.loc[is_held_out, "fname"]]
    options = {"weights": _weights(fit_on), "groups": _groups(fit_on), "standardise": standardise}
    known, labels = train.loc[fit_on["fname"]].to_numpy(), fit_on["corrected"].tolist()
    return _Task(known, others, labels, output_labels(folds), options)


def _fit_and_predict(task: _Task) -> tuple[Regression, np.ndarray]:
    regression = fit(task.known, task.labels, task.classes, **task.options)
    return regression, regression.predict(task.others.to_numpy())


def _weights(clips: pd.DataFrame) -> np.ndarray | None:
    """Weights of clips in the loss; None where all are 1."""
    weights = clips["weight"].to_numpy(np.float64)
    return None if (weights == 1).all() else weights


def _groups(clips: pd.DataFrame) -> list[str] | None:
    """Groups of clips; a clip without one is a group of its own. None where no clip has one."""
    if "group" not in clips or clips["group"].isna().all():
        return None
    groups = "group " + clips["group"].astype(str)
    return groups.where(clips["group"].notna(), "clip " + clips["fname"]).tolist()


def edges(regressions: Mapping[int, Regression]) -> str:
    """What to say where the weakest or strongest penalty of `CANDIDATES` was chosen: others may be better; or "".

    >>> edges({0: Regression(np.zeros((2, 1)), np.zeros(2), 0.3, True)})
    'C 0.3, the weakest penalty that was tried, in 1 of 1 fits'
    """
    counts = Counter(regression.c for regression in regressions.values() if regression.is_chosen)
    ends = {"strongest": CANDIDATES[0], "weakest": CANDIDATES[-1]}
    said = [f"C {c:g}, the {which} penalty that was tried, in {counts[c]} of {len(regressions)} fits"
            for which, c in ends.items() if counts[c]]  # fmt: skip
    return "; ".join(said)


def summary(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Content of `metrics/baseline.json`: the regression with the highest cross-validated MAP@3, and what each has.

    `scores` of a regression are ``cv`` and, where test clips have labels, ``test``. Of equal ones the first is the
    best.

    >>> summary({"statistics": {"cv": 0.7}, "last": {"cv": 0.9}})["best"]
    'last'
    """
    return {"best": max(scores, key=lambda name: scores[name]["cv"]), "features": dict(scores)}
