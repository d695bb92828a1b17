"""Scores of a run: the headline of `metrics/map3.json`, and tables per class, per fold and of confusions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsat.scoring import metrics, outcomes
from fsat.scoring.names import STAGES


@dataclass(frozen=True)
class Summary:
    """What `summarise` returns: the headline for `metrics/map3.json`, and tables that go into files of their own."""

    headline: dict[str, Any]
    per_class: pd.DataFrame
    per_fold: pd.DataFrame
    confusion: pd.DataFrame
    confusion_test: pd.DataFrame


def summarise(predictions: pd.DataFrame, index: pd.DataFrame, *, seed: int = 0) -> Summary:
    """Score both stages on the held-out clips and, where labels exist, on the test clips.

    Parameters
    ----------
    predictions : pd.DataFrame
        Columns stage (stage1, stage2), split (heldout, test), fold (-1 for test), fname, then one column of
        probabilities a label, in label order.
    index : pd.DataFrame
        Columns split (train, test), fname, label, usage, verified. Test clips without a label, or with usage Ignored,
        do not score.
    seed
        Of the bootstrap.

    Returns
    -------
    Summary
        In the headline, ``test.all`` is stage 2, the submission; ``test`` is empty where no test clip has a label.

    Raises
    ------
    FsatError
        If predictions and index do not belong together; see `outcomes.outcome`.
    """
    cv, test = (
        {stage: outcomes.outcome(predictions, index, split=split, stage=stage).clips for stage in STAGES}
        for split in ("heldout", "test")
    )
    by_stage = {stage: scores(cv[stage], test[stage], seed=seed) for stage in STAGES}
    n = by_stage["stage2"].pop("n")
    by_stage["stage1"].pop("n")
    ci95, accuracy = ({stage: table.pop(key) for stage, table in by_stage.items()} for key in ("ci95", "accuracy"))
    headline = {**_both(by_stage), "ci95": _both(ci95), "accuracy": _both(accuracy), "n": n}
    return Summary(
        headline,
        _per_class(outcomes.class_names(predictions), cv, test),
        outcomes.per_fold(cv).round(6).reset_index(),
        cv["stage2"][["actual", "predicted"]],
        test["stage2"][["actual", "predicted"]],
    )


def scores(heldout: pd.DataFrame, test: pd.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """Scores of one model from its outcomes on held-out and on test clips.

    Parameters
    ----------
    heldout, test : pd.DataFrame
        `outcomes.Outcome.clips`; `test` may be empty.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        MAP@3 as ``cv`` and ``test.{all,public,private}`` (a part without clips has no key), and the same two keys in
        ``ci95`` (95 % bootstrap interval), ``accuracy`` and ``n`` (clips).
    """
    parts = {"all": test, **{part: test[test["usage"] == part] for part in ("public", "private")}}
    parts = {part: clips for part, clips in parts.items() if len(clips)}

    def of(score: Any) -> dict[str, Any]:
        return {"cv": score(heldout), "test": {part: score(clips) for part, clips in parts.items()}}

    def interval(clips: pd.DataFrame) -> list[float]:
        return [round(limit, 6) for limit in metrics.bootstrap_interval(clips["ap3"].to_numpy(), seed=seed)]

    def mean(column: str) -> Any:
        return lambda clips: round(metrics.mean(clips[column].to_numpy(np.float64)), 6)

    return {**of(mean("ap3")), "ci95": of(interval), "accuracy": of(mean("correct")), "n": of(len)}


def gain(headline: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, float]:
    """MAP@3 of stage 2 minus that of the baseline, on the same clips: ``cv`` and, where labels exist, ``test``.

    Parameters
    ----------
    headline, baseline
        `metrics/map3.json` and `metrics/baseline.json`.

    Examples
    --------
    >>> gain({"cv": {"stage2": 0.75}, "test": {"all": 0.5}}, {"cv": 0.5, "test": {"all": 0.625}})
    {'cv': 0.25, 'test': -0.125}
    """
    found = {"cv": round(headline["cv"]["stage2"] - baseline["cv"], 6)}
    if "all" in headline["test"]:
        found["test"] = round(headline["test"]["all"] - baseline["test"]["all"], 6)
    return found


def _both(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Keys of `metrics/map3.json` from the ``cv`` and ``test`` of each stage."""
    first, second = (tables[stage]["test"] for stage in STAGES)
    return {
        "cv": {stage: table["cv"] for stage, table in tables.items()},
        "test": {**second, "stage1": first} if second else {},
    }


def _per_class(labels: list[str], cv: dict[str, pd.DataFrame], test: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a label: support, then map3 and accuracy of each stage, on held-out (cv) and on test clips."""
    tables = [
        outcomes.per_class(labels, stages).rename(columns={"n": "support"}).add_prefix(f"{part}_")
        for part, stages in (("cv", cv), ("test", test))
    ]
    return pd.concat(tables, axis=1).round(6).reset_index()
