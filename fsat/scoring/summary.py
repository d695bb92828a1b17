"""Scores of a run: the headline of `metrics/map3.json`, and tables per model, class, fold and of confusions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsat.scoring import metrics, outcomes, selection
from fsat.scoring.names import MODELS, NAMES, SUBMISSION


@dataclass(frozen=True)
class Summary:
    """The headline for `metrics/map3.json`, and tables that go into files of their own."""

    headline: dict[str, Any]
    models: pd.DataFrame
    per_class: pd.DataFrame
    per_fold: pd.DataFrame
    confusion: pd.DataFrame
    confusion_test: pd.DataFrame


def summarise(predictions: pd.DataFrame, index: pd.DataFrame, *, choice: Mapping[str, Any], baseline: str) -> Summary:
    """Score every model on the held-out clips and, where labels exist, on the test clips.

    Predictions are of models of `names.NAMES`, the submission among them; they and `index` are as for
    `outcomes.outcome`, with its errors. `choice` is `data/models.json`, `baseline` the model that the submission is
    compared with. Tables per class and per fold have every model, confusions the submission.
    """
    there = [model for model in NAMES if model == SUBMISSION or (predictions["model"] == model).any()]
    without = {model: selection.submission(predictions, pair) for model, pair in choice["without"].items()}

    def clips(table: pd.DataFrame, split: str, model: str) -> pd.DataFrame:
        return outcomes.outcome(table, index, split=split, model=model).clips

    splits = ("heldout", "test")
    found = {split: {model: clips(predictions, split, model) for model in there} for split in splits}
    others = {split: {model: clips(without[model], split, SUBMISSION) for model in without} for split in splits}
    models = scores(found, others)
    return Summary(
        headline(models, baseline=baseline),
        models,
        _per_class(outcomes.class_names(predictions), found["heldout"], found["test"]),
        outcomes.per_fold(found["heldout"]).round(6).reset_index(),
        found["heldout"][SUBMISSION][["actual", "predicted"]],
        found["test"][SUBMISSION][["actual", "predicted"]],
    )


Clips = Mapping[str, Mapping[str, pd.DataFrame]]


def scores(found: Clips, without: Clips) -> pd.DataFrame:
    """Content of `metrics/models.csv`: a row a model, split and part of the clips (all, public, private).

    `found` holds `outcomes.Outcome.clips` by split and model; those of the split "test" may be empty. `without` holds
    in the same way those of the submission without a model. The columns are model, split, part, map3, low and high
    (95 % bootstrap interval), accuracy, n (clips); cost, cost_low and cost_high: what MAP@3 of the submission would
    lose without the model, with a paired interval, NaN for a model that is not part of it or all of it. A part without
    clips has no row, and held-out clips have the part all.
    """
    rows = []
    for split, by_model in found.items():
        for model, clips in by_model.items():
            for part in ("all", "public", "private") if split == "test" else ("all",):
                chosen = _part(clips, part)
                if len(chosen) == 0:
                    continue
                ap3, correct = (chosen[column].to_numpy(np.float64) for column in ("ap3", "correct"))
                numbers = [metrics.mean(ap3), *metrics.bootstrap_interval(ap3), metrics.mean(correct)]
                cost = [np.nan] * 3
                if model in without[split]:
                    pair = (_part(table, part) for table in (by_model[SUBMISSION], without[split][model]))
                    lost = outcomes.differences(*pair)
                    cost = [lost["mean"], *lost["interval"]]
                numbers, cost = ([round(value, 6) for value in values] for values in (numbers, cost))
                rows.append([model, split, part, *numbers, len(chosen), *cost])
    columns = ["model", "split", "part", "map3", "low", "high", "accuracy", "n", "cost", "cost_low", "cost_high"]
    return pd.DataFrame(rows, columns=columns)


def _part(clips: pd.DataFrame, part: str) -> pd.DataFrame:
    return clips if part == "all" else clips[clips["usage"] == part]


def headline(models: pd.DataFrame, *, baseline: str) -> dict[str, Any]:
    """Content of `metrics/map3.json`, from the result of `scores`.

    MAP@3 is ``cv`` (of each model that is there, and the submission) and ``test.{all,public,private}`` (of the
    submission; empty where no test clip has a label). ``gain`` is the submission's minus that of the baseline on the
    same clips.
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
        "cv": {model: float(map3[model, *cv]) for model in (*MODELS, SUBMISSION) if (model, *cv) in table.index},
        "test": {part: float(map3[SUBMISSION, *key]) for part, key in parts.items()},
        "gain": {
            name: round(float(map3[SUBMISSION, *key] - map3[baseline, *key]), 6)
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
