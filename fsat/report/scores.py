"""The report's tables of scores: by group of clips, by fold and by class, and whether a network beats the baseline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fsat.report.run import CV_CAUTION, MODELS, SPLITS, Run
from fsat.scoring import outcomes
from fsat.scoring.names import BASELINE, NAMES
from fsat.scoring.outcomes import Outcome


def groups(run: Run, found: Mapping[tuple[str, str], Outcome], splits: list[str]) -> list[dict[str, Any]]:
    """The headline table: groups of clips, the most trustworthy first; in each a row a model.

    All scores are those of `metrics/map3.json` and `metrics/baseline.json`.
    """
    parts = [("test", "all", "Test clips", "never seen in training")] if "test" in splits else []
    if "test" in splits:
        usages = set(found["test", "stage2"].clips["usage"])
        parts += [("test", part, f"Of these, {part}", "") for part in ("public", "private") if part in usages]
    caution = "" if run.select == "last" else f"{CV_CAUTION}: a little optimistic"
    parts.append(("heldout", "cv", "Cross-validation, held-out clips", caution))
    table = []
    for split, part, title, note in parts:
        n = run.scores["n"]["cv"] if part == "cv" else run.scores["n"]["test"][part]
        rows = [_row(run, stage, part) | {"n": n} for stage in MODELS]
        table.append({"title": title, "note": note, "split": split, "rows": rows, "n": n})
    return table


def _row(run: Run, stage: str, part: str) -> dict[str, Any]:
    def stored(*keys: str) -> Any:
        table = run.baseline_scores if stage == BASELINE else run.scores
        for key in keys:
            table = table[key]
        if part != "cv":
            return (table["test"]["stage1"] if stage == "stage1" else table["test"])[part]
        return table["cv"] if stage == BASELINE else table["cv"][stage]

    low, high = stored("ci95")
    row = {"stage": stage, "name": NAMES[stage], "part": part, "score": stored(), "accuracy": stored("accuracy")}
    return row | {"low": low, "high": high}


def scale(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Common axis of the score table: from a round number below the lowest interval to 1."""
    lowest = min(row["low"] for group in table for row in group["rows"])
    low = max(0.0, np.floor(lowest * 10 - 0.2) / 10)
    step = 0.1 if low >= 0.5 else 0.2
    ticks = [round(float(tick), 2) for tick in np.arange(1.0, low - 1e-9, -step)][::-1]
    return {"low": float(low), "high": 1.0, "ticks": ticks}


def differences(found: Mapping[tuple[str, str], Outcome], splits: list[str]) -> list[dict[str, Any]]:
    """Difference in MAP@3 of each pair of models on the same clips, with a paired bootstrap interval."""
    pairs = (("stage2", "stage1"), ("stage2", BASELINE), ("stage1", BASELINE))
    return [
        {
            "split": SPLITS[split],
            "first": first,
            "second": second,
            **outcomes.differences(found[split, first].clips, found[split, second].clips),
        }
        for split in reversed(splits)
        for first, second in pairs
    ]


def verdicts(table: list[dict[str, Any]]) -> list[str]:
    """A sentence for each network and group of clips in which it does not beat the baseline, or not for certain.

    `table` is the result of `differences`.
    """
    sentences = []
    for row in table:
        low, high = row["interval"]
        if row["second"] != BASELINE or low > 0:
            continue
        name, clips = NAMES[row["first"]].split(":")[0], row["split"].lower()
        interval = f"95 % interval of the difference {low:+.3f} to {high:+.3f}".replace("-", "−")  # noqa: RUF001
        if row["mean"] <= 0:
            sentences.append(f"{name} does not beat the baseline on the {clips} ({interval}).")
        else:
            sentences.append(
                f"{name} scores higher than the baseline on the {clips}, but it may be chance ({interval})."
            )
    return sentences


def fold_rows(found: Mapping[tuple[str, str], Outcome]) -> list[dict[str, Any]]:
    """MAP@3 of each model on the clips each fold held out."""
    table = outcomes.per_fold({stage: found["heldout", stage].clips for stage in MODELS})
    records: Any = table.reset_index().to_dict("records")
    return [
        {"fold": int(row["fold"]), "n": int(row["n"])} | {stage: float(row[f"{stage}_map3"]) for stage in MODELS}
        for row in records
    ]


def class_rows(labels: list[str], stages: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """A row a label: n, mean AP@3 and accuracy of each model (None without clips), what it is mostly taken for.

    Parameters
    ----------
    labels
        Rows, in this order.
    stages : mapping of stage to pd.DataFrame
        `outcomes.Outcome.clips`; ``stage2`` says what a label is taken for.
    """
    table = outcomes.per_class(labels, stages)
    wrong = outcomes.confusion(labels, stages["stage2"])
    np.fill_diagonal(wrong, 0)
    rows = []
    for position, (label, scores) in enumerate(table.iterrows()):
        row: dict[str, Any] = {"label": label, "n": int(scores["n"])}
        for stage in stages:
            score, accuracy = scores[f"{stage}_map3"], scores[f"{stage}_accuracy"]
            row |= {stage: float(score), f"{stage}_accuracy": float(accuracy)}
            if row["n"] == 0:
                row |= {stage: None, f"{stage}_accuracy": None}
        # The first of equal counts.
        other = int(wrong[position].argmax())
        count = int(wrong[position, other])
        row |= {"taken_for": labels[other] if count else "", "taken_for_n": count}
        # Classes without a clip come last.
        row["order"] = 2.0 if row["stage2"] is None else row["stage2"]
        rows.append(row)
    return rows


def frequent_confusions(counts: np.ndarray, labels: list[str], *, limit: int = 12) -> list[dict[str, Any]]:
    """Pairs of labels that are taken for each other most often; `counts` as of `outcomes.confusion`."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")[:limit]
    totals = counts.sum(axis=1)
    return [
        {
            "row": int(row),
            "column": int(column),
            "actual": labels[row],
            "predicted": labels[column],
            "count": int(wrong[row, column]),
            "of": int(totals[row]),
        }
        for row, column in zip(rows[order], columns[order], strict=True)
    ]
