"""The report's tables of scores: by group of clips, by fold and by class, and whether training beats the regression."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fsat.report.run import COMPARED, CV_CAUTION, SPLITS, Run
from fsat.scoring import outcomes
from fsat.scoring.names import NAMES, REGRESSION, REGRESSION_ALL, SUBMISSION
from fsat.scoring.outcomes import Outcome
from fsat.scoring.ranking import top_k

Found = Mapping[tuple[str, str], Outcome]


def shown_models(found: Found) -> dict[str, str]:
    """Names of the models of the headline table; of two with equal predictions one, whose name says so.

    `found` is the outcome of each split and model.
    """
    names = dict(NAMES)
    if _equal(found, SUBMISSION, "stage2"):
        del names["stage2"]
        names[SUBMISSION] = "Submission: stage 2 (mel + PCA), not fused"
    if _equal(found, REGRESSION, REGRESSION_ALL):
        del names[REGRESSION_ALL]
        names[REGRESSION] = "Regression: all features, no training"
    return names


def _equal(found: Found, one: str, other: str) -> bool:
    return all(np.array_equal(found[split, one].probabilities, found[split, other].probabilities) for split in SPLITS)


def groups(run: Run, names: Mapping[str, str], splits: list[str]) -> list[dict[str, Any]]:
    """The headline table: groups of clips, the most trustworthy first; in each a row for each model of `names`.

    All scores are those of `metrics/models.csv`.
    """
    caution = "" if run.select == "last" else f"{CV_CAUTION}: a little optimistic"
    titles = {
        ("test", "all"): ("Test clips", "never seen in training"),
        ("test", "public"): ("Of these, public", ""),
        ("test", "private"): ("Of these, private", ""),
        ("heldout", "all"): ("Cross-validation, held-out clips", caution),
    }
    records: Any = run.models.to_dict("records")
    stored = {(row["split"], row["part"], row["model"]): row for row in records}
    table = []
    for (split, part), (title, note) in titles.items():
        if split in splits and (split, part, SUBMISSION) in stored:
            rows = [stored[split, part, model] | {"name": name} for model, name in names.items()]
            table.append({"title": title, "note": note, "rows": rows, "n": rows[0]["n"]})
    return table


def scale(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Common axis of the score table: from a round number below the lowest interval to 1."""
    lowest = min(row["low"] for group in table for row in group["rows"])
    low = max(0.0, np.floor(lowest * 10 - 0.2) / 10)
    step = 0.1 if low >= 0.5 else 0.2
    ticks = [round(float(tick), 2) for tick in np.arange(1.0, low - 1e-9, -step)][::-1]
    return {"low": float(low), "high": 1.0, "ticks": ticks}


def differences(found: Found, splits: list[str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Difference in MAP@3 of pairs of models on the same clips, with a paired bootstrap interval.

    Stage 2 has a pair with the submission where `names`, the result of `shown_models`, holds both.
    """
    pairs = [(SUBMISSION, "stage1"), (SUBMISSION, "stage2"), (SUBMISSION, REGRESSION), ("stage1", REGRESSION)]
    return [
        {
            "split": SPLITS[split],
            "first": first,
            "second": second,
            **outcomes.differences(found[split, first].clips, found[split, second].clips),
        }
        for split in reversed(splits)
        for first, second in pairs
        if second in names
    ]


def verdicts(table: list[dict[str, Any]]) -> list[str]:
    """A sentence for each model and group of clips in which it does not beat the regression, or not for certain.

    `table` is the result of `differences`.
    """
    subjects = {SUBMISSION: "The submission", "stage1": "Stage 1"}
    sentences = []
    for row in table:
        low, high = row["interval"]
        if row["second"] != REGRESSION or low > 0:
            continue
        name, clips = subjects[row["first"]], row["split"].lower()
        interval = f"95 % interval of the difference {low:+.3f} to {high:+.3f}".replace("-", "−")  # noqa: RUF001
        if row["mean"] <= 0:
            sentences.append(f"{name} does not beat the regression on the {clips} ({interval}).")
        else:
            what = f"scores higher than the regression on the {clips}, but it may be chance"
            sentences.append(f"{name} {what} ({interval}).")
    return sentences


def fold_rows(found: Found) -> list[dict[str, Any]]:
    """MAP@3 of each of `COMPARED` on the clips each fold held out."""
    table = outcomes.per_fold({model: found["heldout", model].clips for model in COMPARED})
    records: Any = table.reset_index().to_dict("records")
    return [
        {"fold": int(row["fold"]), "n": int(row["n"])} | {model: float(row[f"{model}_map3"]) for model in COMPARED}
        for row in records
    ]


def class_rows(labels: list[str], models: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """A row a label: n, mean AP@3 and accuracy of each model (None without clips), what it is mostly taken for.

    `models` are the `outcomes.Outcome.clips` of each; those of the submission say what a label is taken for.
    """
    table = outcomes.per_class(labels, models)
    wrong = outcomes.confusion(labels, models[SUBMISSION])
    np.fill_diagonal(wrong, 0)
    rows = []
    for position, (label, scores) in enumerate(table.iterrows()):
        row: dict[str, Any] = {"label": label, "n": int(scores["n"])}
        for model in models:
            for key, column in ((model, f"{model}_map3"), (f"{model}_accuracy", f"{model}_accuracy")):
                row[key] = float(scores[column]) if row["n"] else None
        other = int(wrong[position].argmax())  # the first of equal counts
        count = int(wrong[position, other])
        row |= {"taken_for": labels[other] if count else "", "taken_for_n": count}
        # Classes without a clip come last.
        row["order"] = 2.0 if row[SUBMISSION] is None else row[SUBMISSION]
        rows.append(row)
    return rows


def frequent_confusions(counts: np.ndarray, labels: list[str], *, limit: int = 12) -> list[dict[str, Any]]:
    """Pairs of labels that are taken for each other most often; `counts` as of `outcomes.confusion`."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = top_k(wrong[rows, columns], limit)
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
