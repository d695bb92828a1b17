"""Logistic regression on clip-level features, held out by the same folds as the networks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fsat.core.errors import FsatError
from fsat.core.network import output_labels
from fsat.core.numeric import one_blas_thread
from fsat.scoring.names import REGRESSION

# Inverse strength of the L2 penalty. A weaker penalty overfits a few hundred clips in 350 dimensions.
C = 0.01
# For features whose best penalty depends on the data: the one of these with the lowest log loss in a cross-validation
# inside the clips that are fitted on.
CANDIDATES, INNER_FOLDS = (0.01, 0.1, 1.0), 3


def fit_predict(
    features: np.ndarray,
    labels: Sequence[str],
    others: np.ndarray,
    classes: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    choose_penalty: bool = False,
) -> np.ndarray:
    """Fit multinomial logistic regression on some clips, and predict others.

    Parameters
    ----------
    features : np.ndarray [shape=(n, k)]
        Of the clips to fit on.
    labels : sequence of str, length n
    others : np.ndarray [shape=(m, k)]
        Of the clips to predict.
    classes
        Columns of the result; a class without a clip among `labels` gets probability 0.
    weights : np.ndarray [shape=(n,)], optional
        Of the clips to fit on, in the loss; 1 each without.
    groups : sequence of str, length n, optional
        Recordings that the clips to fit on were cut from; the penalty is chosen without splitting one.
    choose_penalty
        Standardise the features and choose among `CANDIDATES`; else the features are used as they are, with `C`. With
        fewer than `INNER_FOLDS` clips (or groups) of a label there is nothing to choose by, and the strongest penalty
        is used.

    Returns
    -------
    np.ndarray [shape=(m, len(classes)), dtype=float64]
        Probabilities.
    """
    result = np.zeros((len(others), len(classes)))
    if len(others) == 0:
        return result
    seen = sorted(set(labels))
    columns = [list(classes).index(label) for label in seen]
    if len(seen) == 1:
        result[:, columns] = 1.0
        return result
    model = _fitted(features, labels, weights, groups, choose_penalty=choose_penalty)
    with one_blas_thread():
        result[:, columns] = model.predict_proba(others.astype(np.float64))
    return result


def _fitted(
    features: np.ndarray,
    labels: Sequence[str],
    weights: np.ndarray | None,
    groups: Sequence[str] | None,
    *,
    choose_penalty: bool,
) -> Any:
    """The regression, alone or after a scaler; with one thread, so that it does not depend on the number of cores."""
    # scikit-learn takes about a second to import.
    from sklearn.linear_model import LogisticRegression

    values = features.astype(np.float64)
    with one_blas_thread():
        if choose_penalty:
            model = _with_chosen_penalty(values, np.array(labels), weights, groups)
            return model.fit(values, list(labels), **_in_pipeline(weights))
        return LogisticRegression(C=C, max_iter=1000).fit(values, list(labels), sample_weight=weights)


def _in_pipeline(weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """Weights of clips by the name that a scikit-learn pipeline knows them by."""
    return {} if weights is None else {"logisticregression__sample_weight": weights}


def _with_chosen_penalty(
    values: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, groups: Sequence[str] | None
) -> Any:
    """An estimator, not yet fitted: standardised features, and the best penalty of `CANDIDATES`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimators = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in CANDIDATES]
    splits = _inner_folds(labels, groups)
    if not splits:
        return estimators[0]
    losses = [
        -cross_val_score(
            estimator, values, labels, cv=splits, scoring="neg_log_loss", params=_in_pipeline(weights)
        ).mean()
        for estimator in estimators
    ]
    return estimators[int(np.argmin(losses))]


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


def coefficients(features: pd.DataFrame, folds: pd.DataFrame, *, choose_penalty: bool = False) -> dict[str, np.ndarray]:
    """The regression that predicts the test clips, as arrays that need no scikit-learn (`ensemble.linear`).

    Parameters
    ----------
    features : pd.DataFrame
        Column fname, then k features: a row a training clip.
    folds : pd.DataFrame
        `data/folds.csv`: the training clips, of at least two labels.
    choose_penalty
        See `fit_predict`.

    Returns
    -------
    dict of str to np.ndarray
        "weights" [shape=(n_labels, k), dtype=float64] and "bias" [shape=(n_labels,), dtype=float64], for the features
        as they are, labels in the order of `network.output_labels`.
    """
    learned = folds[folds["weight"] > 0]
    known = features.set_index("fname").loc[learned["fname"]].to_numpy()
    labels = learned["corrected"].tolist()
    model = _fitted(known, labels, _weights(learned), _groups(learned), choose_penalty=choose_penalty)
    scaler, regression = model if choose_penalty else (None, model)
    weights, bias = regression.coef_, regression.intercept_
    if scaler is not None:
        weights = weights / scaler.scale_
        bias = bias - weights @ scaler.mean_
    if len(weights) == 1:  # of two labels scikit-learn keeps the second one's alone
        weights, bias = np.concatenate([0 * weights, weights]), np.concatenate([0 * bias, bias])
    return {"weights": weights, "bias": bias}


def predict(
    features: Mapping[str, pd.DataFrame], folds: pd.DataFrame, ids: Sequence[int], *, choose_penalty: bool = False
) -> pd.DataFrame:
    """Out-of-fold predictions of the held-out clips, and predictions of the test clips by a fit on all training clips.

    Parameters
    ----------
    features : mapping of "train" and "test" to pd.DataFrame
        Column fname, then the features: a row a clip.
    folds : pd.DataFrame
        `data/folds.csv`: the training clips. Corrected labels and weights are fitted on. With a column `group` the
        penalty is chosen without splitting a group.
    ids
        Folds whose held-out clips are predicted: `folds.ids`.
    choose_penalty
        See `fit_predict`.

    Returns
    -------
    pd.DataFrame
        Columns as `data/predictions.parquet`: model ("regression"), split (heldout, test), fold (-1 for test), fname,
        then a column of probabilities a label, in the order of `network.output_labels`.

    Raises
    ------
    FsatError
        If a training clip has no features.
    """
    classes = output_labels(folds)
    train, test = (features[split].set_index("fname") for split in ("train", "test"))
    missing = set(folds["fname"]) - set(train.index)
    if missing:
        raise FsatError(f"no features of training clip {min(missing)}. Run `dvc repro`.")
    parts = []
    for fold in sorted(ids):
        rest, heldout = folds[folds["fold"] != fold], folds.loc[folds["fold"] == fold, "fname"]
        parts.append(_predicted(train, rest, train.loc[heldout], "heldout", fold, classes, choose_penalty))
    parts.append(_predicted(train, folds, test, "test", -1, classes, choose_penalty))
    return pd.concat(parts, ignore_index=True)


def _predicted(
    train: pd.DataFrame,
    fit_on: pd.DataFrame,
    others: pd.DataFrame,
    split: str,
    fold: int,
    classes: list[str],
    choose_penalty: bool,
) -> pd.DataFrame:
    fit_on = fit_on[fit_on["weight"] > 0]
    known = train.loc[fit_on["fname"]].to_numpy()  # (n, k)
    labels, weights = fit_on["corrected"].tolist(), _weights(fit_on)
    probabilities = fit_predict(
        known,
        labels,
        others.to_numpy(),
        classes,
        weights=weights,
        groups=_groups(fit_on),
        choose_penalty=choose_penalty,
    )
    keys = pd.DataFrame({"model": REGRESSION, "split": split, "fold": fold, "fname": others.index.to_numpy(object)})
    return pd.concat([keys, pd.DataFrame(probabilities, columns=classes)], axis=1)


def _weights(clips: pd.DataFrame) -> np.ndarray | None:
    """Weights of clips in the loss; None where all are 1."""
    weights = clips["weight"].to_numpy(np.float64)
    return None if (weights == 1).all() else weights


def _groups(clips: pd.DataFrame) -> list[str] | None:
    """Groups of clips; a clip without one is a group of its own. None where no clip has one."""
    if "group" not in clips or clips["group"].isna().all():
        return None
    return [
        f"group {group}" if pd.notna(group) else f"clip {name}"
        for name, group in zip(clips["fname"], clips["group"], strict=True)
    ]


def summary(scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Content of `metrics/baseline.json`: the feature set with the highest cross-validated MAP@3, and MAP@3 of each.

    Of equal ones the first is the best.

    Parameters
    ----------
    scores : mapping of name to mapping
        MAP@3 as ``cv`` and, where test clips have labels, ``test``.

    >>> summary({"statistics": {"cv": 0.7}, "embeddings": {"cv": 0.9}})["best"]
    'embeddings'
    """
    return {"best": max(scores, key=lambda name: scores[name]["cv"]), "features": dict(scores)}
