"""Folds into one prediction: geometric mean, submission file, mean learning curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from fsat.core import files, fold_folders
from fsat.scoring.names import STAGES
from fsat.scoring.ranking import top_k

# Columns of a training's history.csv.
_EPOCH = ["epoch", "phase", "learning_rate", "loss", "val_loss", "val_map3", "val_accuracy"]


def geometric_mean(log_probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Probabilities (n, C) from logarithms of the same shape: exp(mean of log p), scaled to a sum of 1 a clip.

    >>> geometric_mean([np.log([[0.9, 0.1]]), np.log([[0.1, 0.9]])])
    array([[0.5, 0.5]])
    """
    mean = np.mean(log_probabilities, axis=0)
    unscaled = np.exp(mean - mean.max(axis=1, keepdims=True, initial=-np.inf))
    return unscaled / unscaled.sum(axis=1, keepdims=True)


def submission(fnames: Sequence[str], probabilities: np.ndarray, labels: Sequence[str]) -> "pd.DataFrame":
    """Kaggle's format: fname, and the three best labels separated by spaces; a row a clip, in the order given."""
    import pandas as pd

    best = [" ".join(labels[column] for column in row) for row in top_k(probabilities)]
    return pd.DataFrame({"fname": list(fnames), "label": best}, columns=["fname", "label"])


def combine(folds: "dict[int, pd.DataFrame]") -> "pd.DataFrame":
    """Predictions of all folds as one table of probabilities.

    Parameters
    ----------
    folds : dict of fold to table
        model (stage1, stage2; one that was not trained has no rows), split ("test" or "heldout"), fname and a column a
        label: mean log p over the fold's passes.

    Returns
    -------
    pd.DataFrame
        model, split, fold, fname and a column a label. Test clips: geometric mean over the folds, fold -1.
        Held-out clips: the prediction of the fold that held them out.
    """
    import pandas as pd

    first = next(iter(folds.values()))
    labels, parts = list(first.columns[3:]), []
    for model in STAGES:
        if not any((table["model"] == model).any() for table in folds.values()):
            continue
        tables = {fold: table[table["model"] == model] for fold, table in folds.items()}
        tests = [table[table["split"] == "test"] for table in tables.values()]
        parts.append(_part(tests[0], geometric_mean([test[labels].to_numpy() for test in tests]), labels, fold=-1))
        for fold, table in tables.items():
            heldout = table[table["split"] == "heldout"]
            parts.append(_part(heldout, geometric_mean([heldout[labels].to_numpy()]), labels, fold=fold))
    if not parts:
        return _part(first[:0], first[:0][labels].to_numpy(np.float64), labels, fold=-1)
    return pd.concat(parts, ignore_index=True)


def linear(features: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Probabilities (n, C) by a multinomial logistic regression: softmax of ``features @ weights.T + bias``.

    Features are (n, k), weights (C, k), the bias is (C,).
    """
    return geometric_mean([features.astype(np.float64) @ weights.T + bias])


def _part(rows: "pd.DataFrame", probabilities: np.ndarray, labels: list[str], *, fold: int) -> "pd.DataFrame":
    import pandas as pd

    keys = rows[["model", "split", "fname"]].reset_index(drop=True)
    keys.insert(2, "fold", fold)
    return pd.concat([keys, pd.DataFrame(probabilities, columns=labels)], axis=1)


def read_histories(models: str | Path, ids: Sequence[int]) -> "dict[int, pd.DataFrame]":
    """Epochs of each fold's networks, with a column `stage`, from ``<models>/<stage>/fold<k>/history.csv``.

    A network that was not trained has no rows.
    """
    import pandas as pd

    def history(folder: Path, stage: str) -> "pd.DataFrame":
        if fold_folders.is_empty(folder):
            return pd.DataFrame(columns=["stage", *_EPOCH])
        return files.read_csv(folder / "history.csv").assign(stage=stage)

    def both(fold: int) -> "pd.DataFrame":
        tables = [history(Path(models) / stage / f"fold{fold}", stage) for stage in STAGES]
        return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)

    return {fold: both(fold) for fold in ids}


def learning_curve(histories: "dict[int, pd.DataFrame]", stage: str) -> "pd.DataFrame":
    """Mean over the folds of each epoch's losses and MAP@3, and how far the folds' validation losses spread.

    Returns epoch, loss, val_loss, val_loss_min, val_loss_max, val_map3. An epoch counts the folds that reached it.
    """
    import pandas as pd

    rows = pd.concat([history[history["stage"] == stage] for history in histories.values()])
    curve = rows.groupby("epoch", sort=True).agg(
        loss=("loss", "mean"),
        val_loss=("val_loss", "mean"),
        val_loss_min=("val_loss", "min"),
        val_loss_max=("val_loss", "max"),
        val_map3=("val_map3", "mean"),
    )
    return curve.reset_index()
