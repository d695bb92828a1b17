"""Logistic regression on clip-level features, held out by the same folds as the networks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fsat.core.errors import FsatError
from fsat.core.network import output_labels
from fsat.core.numeric import one_blas_thread

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
    features, others : np.ndarray [shape=(n, k)], np.ndarray [shape=(m, k)]
        Of the clips to fit on, which have `labels`, and of those to predict.
    classes : sequence of str
        Columns of the result, probabilities, float64; a class without a clip among `labels` gets 0.
    weights : np.ndarray [shape=(n,)], optional
        Of the clips to fit on, in the loss; 1 each without.
    groups : sequence of str, length n, optional
        Recordings that the clips to fit on were cut from; the penalty is chosen without splitting one.
    choose_penalty
        Standardise the features and choose among `CANDIDATES`; else the features are used as they are, with `C`. With
        fewer than `INNER_FOLDS` clips (or groups) of a label there is nothing to choose by, and the strongest penalty
        is used.
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
    options = {"cv": splits, "scoring": "neg_log_loss", "params": _in_pipeline(weights)}
    scores = [cross_val_score(estimator, values, labels, **options).mean() for estimator in estimators]
    return estimators[int(np.argmax(scores))]


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

    `features` and `folds` (of at least two labels) are as of `predict`, `choose_penalty` as of `fit_predict`. Returns
    "weights", float64 (n_labels, k), and "bias", float64 (n_labels,), for the features as they are, labels in the order
    of `network.output_labels`.
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

    Returns a table like `data/predictions.parquet`: model ("statistics"), split (heldout, test), fold (-1 for test),
    fname, then a column of probabilities a label, in the order of `network.output_labels`. `FsatError` if a training
    clip has no features.

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
    """
    classes = output_labels(folds)
    train, test = (features[split].set_index("fname") for split in ("train", "test"))
    if missing := set(folds["fname"]) - set(train.index):
        raise FsatError(f"no features of training clip {min(missing)}. Run `dvc repro`.")
    parts = []
    for fold in (*sorted(ids), -1):  # -1: no clip is held out
        fit_on = folds[(folds["fold"] != fold) & (folds["weight"] > 0)]
        split, others = "test", test
        if fold != -1:
            split, others = "heldout", train.loc[folds.loc[folds["fold"] == fold, "fname"]]
        probabilities = fit_predict(
            train.loc[fit_on["fname"]].to_numpy(),  # (n, k)
            fit_on["corrected"].tolist(),
            others.to_numpy(),
            classes,
            weights=_weights(fit_on),
            groups=_groups(fit_on),
            choose_penalty=choose_penalty,
        )
        keys = pd.DataFrame(
            {"model": "statistics", "split": split, "fold": fold, "fname": others.index.to_numpy(object)}
        )
        parts.append(pd.concat([keys, pd.DataFrame(probabilities, columns=classes)], axis=1))
    return pd.concat(parts, ignore_index=True)


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


def summary(scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Content of `metrics/baseline.json`: the feature set with the highest cross-validated MAP@3, and MAP@3 of each.

    `scores` of a set are ``cv`` and, where test clips have labels, ``test``. Of equal ones the first is the best.

    >>> summary({"statistics": {"cv": 0.7}, "embeddings": {"cv": 0.9}})["best"]
    'embeddings'
    """
    return {"best": max(scores, key=lambda name: scores[name]["cv"]), "features": dict(scores)}
