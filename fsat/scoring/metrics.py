"""How good predictions are: MAP@3, accuracy, bootstrap intervals; also for any submission file.

``python -m fsat.scoring.metrics submission.csv truth.csv`` scores a submission in Kaggle's format: `fname,label` with
up to three labels separated by spaces, best first. The truth table has the columns fname, label and, optionally,
usage (Public, Private, Ignored).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fsat.core.errors import FsatError, listed
from fsat.scoring.ranking import top_k

_LEVEL = 0.95  # of intervals

# --- scores of probabilities -----------------------------------------------------------------------------------------


def average_precision_at_k(scores: np.ndarray, labels: np.ndarray, k: int = 3) -> np.ndarray:
    """Average precision at k of each clip; with one true label that is 1 / its rank, or 0 below rank k.

    Parameters
    ----------
    scores : np.ndarray [shape=(n, n_classes)]
    labels : np.ndarray [shape=(n,), dtype=int]
        Index of the true class; -1, a label that no class has, is never found.

    Returns
    -------
    np.ndarray [shape=(n,), dtype=float64]

    Examples
    --------
    The true class is first, second, third, fourth; the last row is a tie, which the lower index wins:

    >>> scores = np.array([[0.4, 0.3, 0.2, 0.1]] * 4 + [[0.25, 0.25, 0.25, 0.25]])
    >>> average_precision_at_k(scores, np.array([0, 1, 2, 3, 1])).round(3)
    array([1.   , 0.5  , 0.333, 0.   , 0.5  ])
    """
    hits = top_k(scores, k) == np.asarray(labels)[:, None]  # (n, k)
    precision: np.ndarray = (hits / np.arange(1, hits.shape[1] + 1)).sum(axis=1)
    return precision


def map_at_k(scores: np.ndarray, labels: np.ndarray, k: int = 3) -> float:
    """Mean average precision at k: the mean of `average_precision_at_k`.

    >>> map_at_k(np.array([[0.4, 0.3, 0.2, 0.1]] * 2), np.array([0, 1]))
    0.75
    """
    return mean(average_precision_at_k(scores, labels, k))


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose best class is the true one.

    >>> accuracy(np.array([[0.4, 0.3, 0.3]] * 4), np.array([0, 0, 0, 1]))
    0.75
    """
    return mean(average_precision_at_k(scores, labels, 1))


def bootstrap_interval(values: np.ndarray, *, n_resamples: int = 2000) -> tuple[float, float]:
    """Percentile bootstrap interval, 95 %, of the mean of per-clip values (n,), such as average precisions.

    Clips are drawn with replacement; labels are not balanced, so that rare ones vary as they would in another test set.

    >>> low, high = bootstrap_interval(np.array([1.0, 0.0] * 50))
    >>> 0.38 < low < 0.43, 0.57 < high < 0.62
    (True, True)
    """
    values = np.asarray(values, dtype=np.float64)
    mean(values)
    rng = np.random.default_rng(0)
    # One resample at a time: memory stays flat.
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(n_resamples)]
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def mean(values: np.ndarray) -> float:
    """Mean of per-clip values; a ValueError where there is none."""
    if len(values) == 0:
        raise ValueError("no clips to score")
    return float(np.mean(values))


# --- submissions -----------------------------------------------------------------------------------------------------


def score_submission(submission: pd.DataFrame, truth: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[str]]:
    """Average precision of the clips of a submission in Kaggle's format, and notes on it.

    The submission has the columns fname and label: up to three labels separated by spaces, best first. A label given
    twice counts where it first stands; labels after the third do not count. The truth has the columns fname, label and,
    optionally, usage; rows with label "None" or blank, or usage Ignored, do not score.

    Returns float64 (n,) of the part "all" and, where the truth has usages, "public" and "private". `FsatError` if a
    column is missing, a clip that scores has no row, or a clip has two.

    >>> truth = pd.DataFrame({"fname": ["a.wav", "b.wav"], "label": ["Cello", "Oboe"]})
    >>> submission = pd.DataFrame({"fname": ["a.wav", "b.wav"], "label": ["Flute Cello Oboe", "Oboe Cello Flute"]})
    >>> score_submission(submission, truth)[0]
    {'all': array([0.5, 1. ])}
    """
    for name, table in (("submission", submission), ("truth", truth)):
        if missing_columns := [column for column in ("fname", "label") if column not in table]:
            raise FsatError(f"{name}: no column {' and '.join(missing_columns)} (found: {', '.join(table.columns)}).")
        if twice := sorted(set(table.loc[table["fname"].duplicated(), "fname"])):
            raise FsatError(f"{name}: {listed(twice, limit=10)} listed more than once. Keep one row for each clip.")
    usage = truth["usage"].str.lower() if "usage" in truth else pd.Series("", index=truth.index)
    is_scoring = ~truth["label"].isin(["", "None"]) & (usage != "ignored")
    scoring = truth[is_scoring]
    if len(scoring) == 0:
        raise FsatError("truth: no row scores: every label is blank or None, or every usage is Ignored.")
    guesses = dict(zip(submission["fname"], submission["label"], strict=True))
    if missing := [fname for fname in scoring["fname"] if fname not in guesses]:
        raise FsatError(f"submission: {len(missing)} of {len(scoring)} clips have no row: {listed(missing, limit=10)}.")
    labels, notes = _spelled({word for guess in guesses.values() for word in guess.split()}, {*scoring["label"]})
    lines = [[labels[word] for word in guesses[fname].split()] for fname in scoring["fname"]]
    if long := sum(len(line) > 3 for line in lines):
        notes.append(f"{long} clips have more than 3 labels: those after the first 3 do not count")
    pairs = zip(lines, scoring["label"], strict=True)
    precision = np.array([1 / (line.index(label) + 1) if label in line[:3] else 0.0 for line, label in pairs])
    parts = {part: precision[usage[is_scoring] == part] for part in ("public", "private")}
    return {"all": precision, **{part: found for part, found in parts.items() if len(found)}}, notes


def _spelled(words: set[str], labels: set[str]) -> tuple[dict[str, str], list[str]]:
    """The label that each word of a submission means, or the word itself if it means none, and notes on them."""
    meaning, notes, unknown = {word: word for word in words}, list[str](), list[str]()
    for word in sorted(words - labels):
        alike = [label for label in labels if label.casefold() == word.casefold()]
        if len(alike) == 1:
            meaning[word] = alike[0]
            notes.append(f"{word} is taken for {alike[0]}")
        else:
            unknown.append(word)
    if unknown:
        notes.append(f"{len(unknown)} labels that the truth does not have score nothing: {listed(unknown, limit=10)}")
    return meaning, notes


def _read_table(path: str | Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise FsatError(f"{path}: cannot be read as CSV ({error}).") from error


def main(arguments: list[str]) -> None:
    """Print the scores of a submission file: all clips, Public, Private."""
    if len(arguments) != 2:
        raise FsatError("usage: python -m fsat.scoring.metrics submission.csv truth.csv")
    precisions, notes = score_submission(*(_read_table(path) for path in arguments))
    for note in notes:
        print(f"note: {note}")
    print(f"{'':<8} {'MAP@3':>8} {'95 % interval':>17} {'accuracy':>9} {'clips':>6}")
    for part, values in precisions.items():
        low, high = bootstrap_interval(values)
        name, hits = part if part == "all" else part.capitalize(), float((values == 1).mean())
        print(f"{name:<8} {mean(values):8.6f} {low:8.4f} {high:8.4f} {hits:9.4f} {len(values):6d}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FsatError as problem:
        sys.exit(str(problem))
