"""Outcomes clip by clip: predictions joined with labels, and what follows per class, per fold and in confusions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsat.core.errors import FsatError
from fsat.scoring import metrics
from fsat.scoring.ranking import top_k


@dataclass(frozen=True)
class Outcome:
    """What one model made of the clips of one split that score: a table, and probabilities, float64 (n, n_classes).

    A row a clip, by fname: fname, fold (-1 for test), actual, predicted, confidence and p_actual (probabilities of the
    predicted and of the given label), ap3, correct, usage, verified (True, False or None where unknown).
    """

    clips: pd.DataFrame
    probabilities: np.ndarray


def outcome(predictions: pd.DataFrame, index: pd.DataFrame, *, split: str, model: str) -> Outcome:
    """Join predictions with what is known of the clips.

    Predictions have the columns model, split (heldout, test), fold, fname, then one column of probabilities a label;
    the index has split (train, test), fname, label, usage, verified. Test clips without a label, or with usage Ignored,
    do not score and are left out; so are training clips of folds that were not trained.
    `FsatError` if a test clip that scores has no prediction, a clip has two, a prediction belongs to no clip of the
    index, or no clip was held out.
    """
    labels = class_names(predictions)
    mine = predictions[(predictions["split"] == split) & (predictions["model"] == model)].sort_values("fname")
    known = index[index["split"] == ("train" if split == "heldout" else "test")].set_index("fname")
    _check(mine["fname"], known, split=split, model=model)
    facts = known.loc[mine["fname"]]
    label, usage, scores = _texts(facts["label"]), _texts(facts["usage"]), _scores(facts)
    probabilities = mine.iloc[:, 4:].to_numpy(np.float64)[scores]  # (n, n_classes)
    actual = pd.Index(labels).get_indexer(label[scores])  # -1: a label that no model knows
    best = top_k(probabilities, 1)[:, 0]
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
    verified = pd.to_numeric(facts["verified"], errors="coerce").to_numpy(np.float64)[scores]
    clips["verified"] = pd.Series(np.where(np.isnan(verified), None, verified == 1), dtype=object)
    return Outcome(clips, probabilities)


def _scores(clips: pd.DataFrame) -> np.ndarray:
    """Whether each clip has a label that counts."""
    return (_texts(clips["label"]) != "") & (np.char.lower(_texts(clips["usage"])) != "ignored")


def _texts(column: "pd.Series[Any]") -> np.ndarray:
    """Values as str, empty where missing; a column without any value is read as float."""
    return column.astype(object).where(column.notna(), "").to_numpy(str)


def _check(fnames: "pd.Series[Any]", known: pd.DataFrame, *, split: str, model: str) -> None:
    if len(twice := fnames[fnames.duplicated()]):
        raise FsatError(f"two predictions of clip {twice.iloc[0]} by {model} ({split}). Run `dvc repro`.")
    if strangers := set(fnames) - set(known.index):
        raise FsatError(f"prediction of clip {min(strangers)}, which data/index.csv does not have. Run `dvc repro`.")
    if split == "heldout" and len(fnames) == 0:
        raise FsatError(f"no predictions of held-out clips by {model}. Run `dvc repro`.")
    if split == "test" and (missing := set(known.index[_scores(known)]) - set(fnames)):
        raise FsatError(f"no prediction of test clip {min(missing)} by {model}. Run `dvc repro`.")


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Labels a model can predict: all columns after model, split, fold and fname."""
    return [str(column) for column in predictions.columns[4:]]


def mistakes(clips: pd.DataFrame, *, limit: int) -> pd.DataFrame:
    """Clips whose predicted label is wrong, the surest prediction first; at most `limit`."""
    wrong = clips[~clips["correct"].astype(bool)]
    return wrong.sort_values(["confidence", "fname"], ascending=[False, True]).head(limit)


def suspicious(clips: pd.DataFrame, *, limit: int) -> pd.DataFrame:
    """Held-out clips whose given label the model doubts most: unverified ones first, then by p(predicted) - p(given).

    Adds the column doubt, that difference. Only clips whose prediction differs from the label are listed.
    """
    wrong = clips[~clips["correct"].astype(bool)]
    table = wrong.assign(doubt=wrong["confidence"] - wrong["p_actual"], is_verified=wrong["verified"].eq(True))
    table = table.sort_values(["is_verified", "doubt", "fname"], ascending=[True, False, True])
    return table.drop(columns="is_verified").head(limit)


def per_class(labels: Sequence[str], models: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a label, in their order: how many clips, and each model's mean ap3 and accuracy; NaN without clips.

    From the `Outcome.clips` of each model: index label; columns n, then `<model>_map3` and `<model>_accuracy` of each.
    """
    return _by(models, "actual").reindex(pd.Index(labels, name="label")).fillna({"n": 0}).astype({"n": np.int64})


def per_fold(models: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a fold that held clips out; index fold, columns as of `per_class`."""
    return _by(models, "fold")


def _by(models: Mapping[str, pd.DataFrame], key: str) -> pd.DataFrame:
    groups = {model: clips.groupby(key) for model, clips in models.items()}
    columns = {"n": next(iter(groups.values())).size()}
    for model, clips in groups.items():
        columns |= {f"{model}_map3": clips["ap3"].mean(), f"{model}_accuracy": clips["correct"].mean()}
    return pd.DataFrame(columns)


def confusion(labels: Sequence[str], clips: pd.DataFrame) -> np.ndarray:
    """Counts [shape=(n_labels, n_labels)]: rows the given, columns the predicted label, in the order of `labels`."""
    number = {label: row for row, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (clips["actual"].map(number).to_numpy(int), clips["predicted"].map(number).to_numpy(int)), 1)
    return counts


def differences(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """Mean of first - second of the clips' average precisions, with a bootstrap interval over the pairs."""
    values = (first.set_index("fname")["ap3"] - second.set_index("fname")["ap3"]).to_numpy(np.float64)
    return {"mean": float(values.mean()), "interval": metrics.bootstrap_interval(values)}


def selected_epochs(history: pd.DataFrame, *, select: str) -> dict[str, int]:
    """Epoch of each stage whose weights were handed on: the last one, or the best of the last phase."""
    chosen = {}
    for stage, rows in history.groupby("stage"):
        phase = rows[rows["phase"] == rows["phase"].iloc[-1]]
        use_last = select == "last" or phase["val_loss"].isna().all()
        chosen[str(stage)] = int((phase.iloc[-1] if use_last else phase.loc[phase["val_loss"].idxmin()])["epoch"])
    return chosen
