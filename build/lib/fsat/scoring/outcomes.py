"""Numbers of the report that no other stage has written: the anchor, clip by clip outcomes, confident mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsat.core.errors import FsatError
from fsat.scoring import metrics

# Weak regularisation overfits a few hundred clips in 350 dimensions; this is the anchor's one fixed number.
ANCHOR_C = 0.01


@dataclass(frozen=True)
class Outcome:
    """What one stage made of the clips of one split that score.

    Attributes
    ----------
    clips : pd.DataFrame
        A row a clip, by fname: fname, fold (-1 for test), actual, predicted, confidence and p_actual (probabilities of
        the predicted and of the given label), ap3, correct, usage, verified (True, False or None where unknown).
    probabilities : np.ndarray [shape=(n, n_classes), dtype=float64]
    """

    clips: pd.DataFrame
    probabilities: np.ndarray


def outcome(predictions: pd.DataFrame, index: pd.DataFrame, *, split: str, stage: str) -> Outcome:
    """Join predictions with what is known of the clips.

    Parameters
    ----------
    predictions : pd.DataFrame
        Columns stage, split (heldout, test), fold, fname, then one column of probabilities a label.
    index : pd.DataFrame
        Columns split (train, test), fname, label, usage, verified. Test clips without a label, or with usage Ignored,
        do not score and are left out.

    Raises
    ------
    FsatError
        If a prediction belongs to no clip of the index.
    """
    labels = class_names(predictions)
    mine = predictions[(predictions["split"] == split) & (predictions["stage"] == stage)].sort_values("fname")
    known = index[index["split"] == ("train" if split == "heldout" else "test")].set_index("fname")
    strangers = set(mine["fname"]) - set(known.index)
    if strangers:
        raise FsatError(f"prediction of clip {min(strangers)}, which data/index.csv does not have. Run `dvc repro`.")
    facts = known.loc[mine["fname"]]
    label, usage = facts["label"].fillna("").to_numpy(str), facts["usage"].fillna("").to_numpy(str)
    scores = (label != "") & (np.char.lower(usage) != "ignored")
    probabilities = mine.iloc[:, 4:].to_numpy(np.float64)[scores]  # (n, n_classes)
    number = {name: column for column, name in enumerate(labels)}
    actual = np.array([number.get(name, -1) for name in label[scores]], dtype=np.int64)
    best = metrics.top_k(probabilities, 1)[:, 0]
    rows = np.arange(len(actual))
    clips = pd.DataFrame(
        {
            "fname": mine["fname"].to_numpy()[scores],
            "fold": mine["fold"].to_numpy()[scores],
            "actual": label[scores],
            "predicted": [labels[column] for column in best],
            "confidence": probabilities[rows, best],
            "p_actual": np.where(actual >= 0, probabilities[rows, np.maximum(actual, 0)], 0.0),
            "ap3": metrics.average_precision_at_k(probabilities, actual),
            "correct": metrics.average_precision_at_k(probabilities, actual, 1) == 1,
            "usage": np.char.lower(usage[scores]),
        }
    )
    clips["verified"] = pd.Series(_verified(facts["verified"])[scores], dtype=object)
    return Outcome(clips, probabilities)


def _verified(column: "pd.Series[Any]") -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    return np.array([None if np.isnan(value) else bool(value == 1) for value in numbers], dtype=object)


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Labels a model can predict: all columns after stage, split, fold and fname."""
    return [str(column) for column in predictions.columns[4:]]


def fit_anchor(components: np.ndarray, labels: Sequence[str], others: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Logistic regression on principal components: what a run without any network reaches.

    Parameters
    ----------
    components : np.ndarray [shape=(n, k)]
        Of the clips to fit on.
    labels : sequence of str, length n
    others : np.ndarray [shape=(m, k)]
        Of the clips to predict.
    classes
        Columns of the result; a class without a clip among `labels` gets probability 0.

    Returns
    -------
    np.ndarray [shape=(m, len(classes)), dtype=float64]
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    result = np.zeros((len(others), len(classes)))
    if len(others) == 0:
        return result
    seen = sorted(set(labels))
    columns = [list(classes).index(label) for label in seen]
    if len(seen) == 1:
        result[:, columns] = 1.0
        return result
    # With one thread the result does not depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        model = LogisticRegression(C=ANCHOR_C, max_iter=1000).fit(components.astype(np.float64), list(labels))
        result[:, columns] = model.predict_proba(others.astype(np.float64))
    return result


def anchor_predictions(
    components: Mapping[str, pd.DataFrame], folds: pd.DataFrame, predictions: pd.DataFrame
) -> pd.DataFrame:
    """Predict with the anchor the clips that the networks predicted, held out by the same folds.

    Parameters
    ----------
    components : mapping of "train" and "test" to pd.DataFrame
        Column fname, then the principal components.
    folds : pd.DataFrame
        Columns fname, label, fold: the training clips.
    predictions : pd.DataFrame
        Of the networks; says which clips of which folds count and names the classes.

    Returns
    -------
    pd.DataFrame
        Columns as `predictions`, stage "anchor".
    """
    classes = class_names(predictions)
    x = {split: table.set_index("fname") for split, table in components.items()}

    def fitted(fit_on: pd.DataFrame, fnames: "pd.Series[Any]", split: str) -> np.ndarray:
        train = x["train"].loc[fit_on["fname"]].to_numpy()
        others = x["train" if split == "heldout" else "test"].loc[fnames].to_numpy()
        return fit_anchor(train, fit_on["label"].tolist(), others, classes)

    wanted = predictions.loc[predictions["stage"] == "stage2", ["stage", "split", "fold", "fname"]]
    parts = []
    groups: Any = wanted.groupby(["split", "fold"], sort=True)
    for (split, fold), rows in groups:
        fit_on = folds[folds["fold"] != fold]  # test clips have fold -1: fitted on all training clips
        keys = rows.assign(stage="anchor").reset_index(drop=True)
        parts.append(pd.concat([keys, pd.DataFrame(fitted(fit_on, rows["fname"], split), columns=classes)], axis=1))
    return pd.concat(parts, ignore_index=True)


def mistakes(clips: pd.DataFrame, *, limit: int) -> pd.DataFrame:
    """Clips whose predicted label is wrong, the surest prediction first; at most `limit`."""
    wrong = clips[~clips["correct"].astype(bool)]
    return wrong.sort_values(["confidence", "fname"], ascending=[False, True]).head(limit)


def suspicious(clips: pd.DataFrame, *, limit: int) -> pd.DataFrame:
    """Held-out clips whose given label the model doubts most: unverified ones first, then by p(predicted) - p(given).

    Adds the column doubt, that difference. Only clips whose prediction differs from the label are listed.
    """
    wrong = clips[~clips["correct"].astype(bool)]
    doubt = wrong["confidence"] - wrong["p_actual"]
    is_verified = wrong["verified"].map(lambda value: value is True).astype(bool)
    table = wrong.assign(doubt=doubt, is_verified=is_verified)
    table = table.sort_values(["is_verified", "doubt", "fname"], ascending=[True, False, True])
    return table.drop(columns="is_verified").head(limit)


def per_class(labels: Sequence[str], stages: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """A row a label: n, ap3 and accuracy of each stage (None without clips), and what it is taken for most often.

    Parameters
    ----------
    labels
        Rows, in this order.
    stages : mapping of stage to pd.DataFrame
        `Outcome.clips`; ``stage2`` says what a label is taken for.
    """
    rows = []
    groups = {stage: dict(list(clips.groupby("actual"))) for stage, clips in stages.items()}
    for label in labels:
        row: dict[str, Any] = {
            "label": label,
            "n": len(groups["stage2"].get(label, ())),
            "taken_for": "",
            "taken_for_n": 0,
        }
        for stage, by_label in groups.items():
            mine = by_label.get(label)
            row[stage] = None if mine is None else float(mine["ap3"].mean())
            row[f"{stage}_accuracy"] = None if mine is None else float(mine["correct"].mean())
        wrong = groups["stage2"].get(label)
        if wrong is not None and not wrong["correct"].all():
            counts = wrong.loc[~wrong["correct"].astype(bool), "predicted"].value_counts().sort_index()
            # The first of equal counts in the alphabet.
            row["taken_for"], row["taken_for_n"] = str(counts.idxmax()), int(counts.max())
        # Classes without a clip come last.
        row["order"] = 2.0 if row["stage2"] is None else row["stage2"]
        rows.append(row)
    return rows


def confusion(labels: Sequence[str], clips: pd.DataFrame) -> np.ndarray:
    """Counts [shape=(n_labels, n_labels)]: rows the given, columns the predicted label, in the order of `labels`."""
    number = {label: row for row, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (clips["actual"].map(number).to_numpy(int), clips["predicted"].map(number).to_numpy(int)), 1)
    return counts


def differences(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """Mean of first - second of the clips' average precisions, with a bootstrap interval over the pairs."""
    pairs = first.set_index("fname")["ap3"] - second.set_index("fname")["ap3"]
    values = pairs.to_numpy(np.float64)
    return {"mean": float(values.mean()), "interval": metrics.bootstrap_interval(values)}


def selected_epochs(history: pd.DataFrame, *, select: str) -> dict[str, int]:
    """Epoch of each stage whose weights were handed on: the last one, or the best of the last phase."""
    chosen = {}
    for stage, rows in history.groupby("stage"):
        phase = rows[rows["phase"] == rows["phase"].iloc[-1]]
        use_last = select == "last" or phase["val_loss"].isna().all()
        chosen[str(stage)] = int((phase.iloc[-1] if use_last else phase.loc[phase["val_loss"].idxmin()])["epoch"])
    return chosen
