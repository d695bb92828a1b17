"""The report's tables of scores: by group of clips, by fold and by class, and whether training beats the baseline."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fsat.report.run import CV_CAUTION, SPLITS, Run
from fsat.scoring import metrics, outcomes
from fsat.scoring.names import NAMES, REGRESSIONS, SUBMISSION, listed, short
from fsat.scoring.outcomes import Outcome
from fsat.scoring.ranking import top_k

Found = Mapping[tuple[str, str], Outcome]


def shown_models(run: Run) -> dict[str, str]:
    """Names of the models of the headline table: those that are there; one that alone is the submission is not named
    twice.
    """
    there = set(run.models["model"])
    names = {model: name for model, name in NAMES.items() if model in there and model != run.sole}
    chosen = run.choice["test"]
    of_several = f"geometric mean of {listed(chosen) if len(chosen) == 2 else f'{len(chosen)} models'}"
    names[SUBMISSION] = f"{NAMES[SUBMISSION]}: {of_several if len(chosen) > 1 else f'{listed(chosen)} alone'}"
    if run.baseline in names:
        names[run.baseline] += " (the baseline)"
    return names


def compared(run: Run) -> dict[str, str]:
    """Models that are compared label by label and fold by fold, with their names: the submission first."""
    there = [*(["stage1"] if "stage1" in run.networks else []), run.baseline]
    return {SUBMISSION: "Submission"} | {model: short(model).capitalize() for model in there if model != run.sole}


def kinds(run: Run) -> dict[str, str]:
    """Class of each model in the style sheet."""
    return {model: "regression" if model in REGRESSIONS else model for model in run.models["model"].unique()}


def groups(run: Run, names: Mapping[str, str], splits: list[str]) -> list[dict[str, Any]]:
    """The headline table: groups of clips, the most trustworthy first; in each a row for each model of `names`.

    All scores are those of `metrics/models.csv`.
    """
    varies = any(subset != run.choice["test"] for subset in run.choice["heldout"].values())
    by_fold = {SUBMISSION: f"{NAMES[SUBMISSION]}: models chosen for each fold by the others"} if varies else {}
    own_names = {"test": names, "heldout": {**names, **by_fold}}
    caution = f"{CV_CAUTION}: a little optimistic" if run.is_cautious else ""
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
            rows = [stored[split, part, model] | {"name": name} for model, name in own_names[split].items()]
            table.append({"title": title, "note": note, "rows": rows, "n": rows[0]["n"]})
    return table


def scale(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Common axis of the score table: from a round number below the lowest interval to 1."""
    lowest = min(row["low"] for group in table for row in group["rows"])
    low = max(0.0, np.floor(lowest * 10 - 0.2) / 10)
    step = 0.1 if low >= 0.5 else 0.2
    ticks = [round(float(tick), 2) for tick in np.arange(1.0, low - 1e-9, -step)][::-1]
    return {"low": float(low), "high": 1.0, "ticks": ticks}


def differences(run: Run, found: Found, splits: list[str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Difference in MAP@3 of pairs of models on the same clips, with a paired bootstrap interval.

    The pairs are of those in `names`, the result of `shown_models`: the submission and stage 1 with what they should
    beat.
    """
    pairs = [(SUBMISSION, "stage1"), (SUBMISSION, "stage2"), (SUBMISSION, run.baseline), ("stage1", run.baseline)]
    return [
        {
            "split": SPLITS[split],
            "first": first,
            "second": second,
            **outcomes.differences(found[split, first].clips, found[split, second].clips),
        }
        for split in reversed(splits)
        for first, second in pairs
        if first in names and second in names
    ]


def costs(run: Run, splits: list[str]) -> list[dict[str, Any]]:
    """What MAP@3 of the submission would lose without each of its models, as `metrics/models.csv` has it."""
    rows = run.models[(run.models["part"] == "all") & run.models["cost"].notna()]
    return [
        {
            "split": SPLITS[split],
            "model": row["model"],
            "mean": row["cost"],
            "interval": (row["cost_low"], row["cost_high"]),
        }
        for split in reversed(splits)
        for row in rows[rows["split"] == split].to_dict("records")
    ]


def verdicts(table: list[dict[str, Any]], *, baseline: str, trained: bool) -> list[str]:
    """A sentence for each model and group of clips in which it does not beat the baseline, or not for certain.

    `table` is the result of `differences`. Where no network is `trained` there is a sentence only for a model that
    scores less than the baseline.
    """
    subjects = {SUBMISSION: "The submission", "stage1": "Stage 1"}
    sentences = []
    for row in table:
        low, high = row["interval"]
        if row["second"] != baseline or low > 0 or (row["mean"] >= 0 and not trained):
            continue
        name, clips = subjects[row["first"]], row["split"].lower()
        interval = f"95 % interval of the difference {low:+.3f} to {high:+.3f}".replace("-", "−")  # noqa: RUF001
        if row["mean"] <= 0:
            sentences.append(f"{name} does not beat the baseline on the {clips} ({interval}).")
        else:
            what = f"scores higher than the baseline on the {clips}, but it may be chance"
            sentences.append(f"{name} {what} ({interval}).")
    return sentences


def headline(clips: pd.DataFrame, row: Mapping[str, Any], n_labels: int) -> dict[str, Any]:
    """The score that the page leads with: MAP@3, or with two labels accuracy, as no clip then gets less than 1/2.

    `clips` are the `outcomes.Outcome.clips` that `row`, of `groups`, scores. Adds by_accuracy, and low and high are
    those of the score.
    """
    if n_labels > 2:
        return {**row, "by_accuracy": False}
    low, high = metrics.bootstrap_interval(clips["correct"].to_numpy(np.float64))
    return {**row, "by_accuracy": True, "low": low, "high": high}


def fold_rows(found: Found, models: Iterable[str]) -> list[dict[str, Any]]:
    """MAP@3 of each of these models on the clips each fold held out, with fold and n."""
    return _rows(outcomes.per_fold({model: found["heldout", model].clips for model in models}))


def class_rows(labels: list[str], models: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """A row a label: n, mean AP@3 and accuracy of each model (None without clips), what it is mostly taken for.

    `models` are the `outcomes.Outcome.clips` of each; those of the submission say what a label is taken for.
    """
    table = outcomes.per_class(labels, models)
    wrong = outcomes.confusion(labels, models[SUBMISSION])
    np.fill_diagonal(wrong, 0)
    most = wrong.argmax(axis=1)  # the first of equal counts
    table["taken_for"] = np.where(wrong.any(axis=1), np.array(labels, dtype=object)[most], "")
    table["taken_for_n"] = wrong.max(axis=1)
    table["order"] = table[f"{SUBMISSION}_map3"].fillna(2.0)  # classes without a clip come last
    return _rows(table)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table of `outcomes`, its index too; MAP@3 has the name of its model, and None stands for NaN."""
    named = table.rename(columns=lambda name: str(name).removesuffix("_map3"))
    records: Any = named.astype(object).where(named.notna(), None).reset_index().to_dict("records")
    return list(records)


def frequent_confusions(counts: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """The twelve pairs of labels that are taken for each other most often; `counts` as of `outcomes.confusion`."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = top_k(wrong[rows, columns], 12)
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
