"""Scores of a run: the headline of `metrics/map3.json`, and tables per model, class, fold and of confusions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsat.scoring import metrics, outcomes
from fsat.scoring.names import NAMES, REGRESSION, STAGES, SUBMISSION

# Parts of the test clips that are scored on their own, where the dataset has them.
USAGES = ("public", "private")


@dataclass(frozen=True)
class Summary:
    """What `summarise` returns: the headline for `metrics/map3.json`, and tables that go into files of their own."""

    headline: dict[str, Any]
    models: pd.DataFrame
    per_class: pd.DataFrame
    per_fold: pd.DataFrame
    confusion: pd.DataFrame
    confusion_test: pd.DataFrame


def summarise(predictions: pd.DataFrame, index: pd.DataFrame, *, seed: int = 0) -> Summary:
    """Score every model on the held-out clips and, where labels exist, on the test clips.

    Parameters
    ----------
    predictions : pd.DataFrame
        Columns model (all of `names.NAMES`), split (heldout, test), fold (-1 for test), fname, then one column of
        probabilities a label, in label order.
    index : pd.DataFrame
        Columns split (train, test), fname, label, usage, verified. Test clips without a label, or with usage Ignored,
        do not score.
    seed
        Of the bootstrap.

    Returns
    -------
    Summary
        Tables per class and per fold have the networks and the submission, confusions the submission.

    Raises
    ------
    FsatError
        If predictions and index do not belong together; see `outcomes.outcome`.
    """
    found = {
        split: {model: outcomes.outcome(predictions, index, split=split, model=model).clips for model in NAMES}
        for split in ("heldout", "test")
    }
    models = scores(found, seed=seed)
    cv, test = ({model: clips[model] for model in (*STAGES, SUBMISSION)} for clips in found.values())
    return Summary(
        headline(models),
        models,
        _per_class(outcomes.class_names(predictions), cv, test),
        outcomes.per_fold(cv).round(6).reset_index(),
        cv[SUBMISSION][["actual", "predicted"]],
        test[SUBMISSION][["actual", "predicted"]],
    )


def scores(found: Mapping[str, Mapping[str, pd.DataFrame]], *, seed: int = 0) -> pd.DataFrame:
    """Content of `metrics/models.csv`: a row a model, split and part of the clips (all, public, private).

    `found` holds `outcomes.Outcome.clips` by split and model; those of the split "test" may be empty. `seed` is that of
    the bootstrap. The columns are model, split, part, map3, low and high (95 % bootstrap interval), accuracy, n
    (clips). A part without clips has no row, and held-out clips have the part all.
    """
    rows = []
    for split, by_model in found.items():
        for model, clips in by_model.items():
            parts = {"all": clips}
            if split == "test":
                parts |= {part: clips[clips["usage"] == part] for part in USAGES}
            for part, chosen in parts.items():
                if len(chosen):
                    ap3, correct = (chosen[column].to_numpy(np.float64) for column in ("ap3", "correct"))
                    interval = metrics.bootstrap_interval(ap3, seed=seed)
                    numbers = [round(value, 6) for value in (metrics.mean(ap3), *interval, metrics.mean(correct))]
                    rows.append([model, split, part, *numbers, len(chosen)])
    return pd.DataFrame(rows, columns=["model", "split", "part", "map3", "low", "high", "accuracy", "n"])


def headline(models: pd.DataFrame) -> dict[str, Any]:
    """Content of `metrics/map3.json`, from the result of `scores`.

    MAP@3 is ``cv`` (of both networks and the submission) and ``test.{all,public,private}`` (of the submission; empty
    where no test clip has a label). ``gain`` is the submission's minus that of the regression on the same clips.
    ``accuracy`` and ``ci95`` are those of the submission, ``n`` counts the clips; each has ``cv`` and ``test``.
    """
    table = models.set_index(["model", "split", "part"])
    cv, test = ("heldout", "all"), ("test", "all")
    mine = table.loc[SUBMISSION]
    parts = {part: ("test", part) for split, part in mine.index if split == "test"}

    def of(score: Any) -> dict[str, Any]:
        return {"cv": score(mine.loc[cv]), "test": {part: score(mine.loc[key]) for part, key in parts.items()}}

    map3 = table["map3"]
    return {
        "cv": {model: float(map3[model, *cv]) for model in (*STAGES, SUBMISSION)},
        "test": {part: float(map3[SUBMISSION, *key]) for part, key in parts.items()},
        "gain": {
            name: round(float(map3[SUBMISSION, *key] - map3[REGRESSION, *key]), 6)
            for name, key in (("cv", cv), ("test", test))
            if key in mine.index
        },
        "ci95": of(lambda row: [float(row["low"]), float(row["high"])]),
        "accuracy": of(lambda row: float(row["accuracy"])),
        "n": of(lambda row: int(row["n"])),
    }


def _per_class(labels: list[str], cv: dict[str, pd.DataFrame], test: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a label: support, then map3 and accuracy of each model, on held-out (cv) and on test clips."""
    tables = [
        outcomes.per_class(labels, models).rename(columns={"n": "support"}).add_prefix(f"{part}_")
        for part, models in (("cv", cv), ("test", test))
    ]
    return pd.concat(tables, axis=1).round(6).reset_index()
