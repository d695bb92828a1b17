"""None of these: how unlike the training clips a clip is, by the distance of its embedding to the nearest of theirs.

Source: Sun, Ming, Zhu, Li, Out-of-Distribution Detection with Deep Nearest Neighbors, 2022; the choice of the kept
embeddings is the greedy k-centre of Sener, Savarese, Active Learning for Convolutional Neural Networks, 2018.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 1  # nearest training clips whose mean distance is the score
VIEW = "last"  # of the frozen trunk
REFERENCES = 1000  # training clips of each fold that are kept to compare with
_BLOCK = 1024  # clips whose distances are in memory at a time


def reference(embeddings: np.ndarray, labels: Sequence[str], *, limit: int = REFERENCES) -> np.ndarray:
    """Embeddings of training clips that others are compared with, of unit length.

    Parameters
    ----------
    embeddings : np.ndarray [shape=(n, E)]
        Of the clips a network learned from, at least one.
    labels : sequence of str, length n
    limit : int
        How many are kept, the same number of each label (at least one). Of a label with more clips the one nearest to
        its mean is kept, then again and again the one farthest from those kept.

    Returns
    -------
    np.ndarray [shape=(k, E), dtype=float16]
        In the order of the clips.
    """
    unit = _unit(embeddings)
    names = np.asarray(labels)
    share = max(1, limit // len(set(labels)))
    of_labels = [np.flatnonzero(names == name) for name in set(labels)]
    kept = [rows[_spread(unit[rows], share)] for rows in of_labels]
    return unit[np.sort(np.concatenate(kept))].astype(np.float16)


def _spread(unit: np.ndarray, count: int) -> np.ndarray:
    """Rows of `count` vectors that lie far from each other, the one nearest to the mean first."""
    if len(unit) <= count:
        return np.arange(len(unit))
    chosen = [int(np.argmax(unit @ unit.mean(axis=0)))]
    nearest = 1 - unit @ unit[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, 1 - unit @ unit[chosen[-1]])
    return np.array(chosen)


def score(embeddings: np.ndarray, known: np.ndarray, *, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Mean cosine distance to the nearest training clips: 0 (the same direction) to 2.

    Parameters
    ----------
    embeddings : np.ndarray [shape=(n, E)]
    known : np.ndarray [shape=(k, E)]
        Result of `reference`, for the same network.
    neighbours : int
        How many of them; all if there are fewer.

    Returns
    -------
    np.ndarray [shape=(n,), dtype=float64]

    >>> score(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([[1.0, 0.0]]), neighbours=1)
    array([0., 1.])
    """
    targets, count = _unit(known).T, min(neighbours, len(known))
    rows = []
    for start in range(0, len(embeddings), _BLOCK):
        distances = 1 - _unit(embeddings[start : start + _BLOCK]) @ targets
        rows.append(np.partition(distances, count - 1, axis=1)[:, :count].mean(axis=1))
    return np.clip(np.concatenate(rows), 0, 2) if rows else np.zeros(0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float64; one of length 0 stays."""
    values = vectors.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def threshold(scores: np.ndarray, keep: float) -> float:
    """Lowest score that at least the share `keep` of clips does not exceed, to six digits and not below it.

    >>> threshold(np.array([0.1, 0.2, 0.3, 0.4]), 0.75)
    0.3
    """
    found = float(np.quantile(scores, keep, method="inverted_cdf"))
    return float(np.ceil(found * 1e6) / 1e6)


def kept_out_of_fold(scores: np.ndarray, folds: np.ndarray, keep: float) -> float:
    """Share of clips that are kept by a threshold from the other folds; with one fold, from every second clip."""
    groups = folds if len(np.unique(folds)) > 1 else np.arange(len(scores)) % 2
    kept = np.ones(len(scores), dtype=bool)
    for group in np.unique(groups):
        mine = groups == group
        if not mine.all():
            kept[mine] = scores[mine] <= threshold(scores[~mine], keep)
    return float(kept.mean())


def combine(folds: "Mapping[int, pd.DataFrame]") -> "pd.DataFrame":
    """Scores of all folds as one table.

    The tables of the folds have the columns model, split ("test" or "heldout"), fname, score; the result has fold too.
    Test clips have the mean over the folds, and fold -1; held-out clips the score by the network of the fold that held
    them out.
    """
    import pandas as pd

    every = pd.concat([table.assign(fold=fold) for fold, table in folds.items()], ignore_index=True)
    heldout = every[every["split"] == "heldout"]
    test = every[every["split"] == "test"].groupby(["model", "split", "fname"], as_index=False)["score"].mean()
    both = pd.concat([heldout, test.assign(fold=-1)], ignore_index=True)
    table = both.sort_values(["model", "split", "fname"], ignore_index=True)
    return table[["model", "split", "fold", "fname", "score"]]


def of_view(views: "Mapping[str, pd.DataFrame]", folds: "pd.DataFrame", ids: Sequence[int]) -> "pd.DataFrame":
    """Scores by `VIEW` of the frozen trunk, as a table like that of `combine`.

    `views` are `data/embeddings/<split>.parquet` of "train" and "test"; where they lack the view there are no rows.
    `folds` is `data/folds.csv`. Clips held out by the folds `ids` are compared with the clips of the other folds that
    are learned from, test clips with all of these.
    """
    import pandas as pd

    train, test = (_of_view(views[split]) for split in ("train", "test"))
    parts = [pd.DataFrame({"model": [], "split": [], "fold": [], "fname": [], "score": []})]
    for fold, split in [*((fold, "heldout") for fold in ids), (-1, "test")] if train.shape[1] else ():
        clips = test if split == "test" else train.loc[folds.loc[folds["fold"] == fold, "fname"]]
        known = view_reference(views["train"], folds, fold)
        keys = {"model": VIEW, "split": split, "fold": fold, "fname": clips.index.to_numpy(object)}
        parts.append(pd.DataFrame(keys).assign(score=score(clips.to_numpy(), known)))
    table = pd.concat(parts[1:] or parts, ignore_index=True)
    return table.sort_values(["model", "split", "fname"], ignore_index=True)


def view_reference(table: "pd.DataFrame", folds: "pd.DataFrame", fold: int = -1) -> np.ndarray:
    """`reference` of `VIEW` of the training clips that are learned from, without those that `fold` holds out.

    `table` is `data/embeddings/train.parquet`, `folds` is `data/folds.csv`.
    """
    learned = folds[(folds["fold"] != fold) & (folds["weight"] > 0)]
    return reference(_of_view(table).loc[learned["fname"]].to_numpy(), learned["corrected"].tolist())


def _of_view(table: "pd.DataFrame") -> "pd.DataFrame":
    """The columns of `VIEW`, by fname."""
    return table.set_index("fname").filter(regex=f"^{VIEW}\\.")


def summary(scores: "pd.DataFrame", *, keep: float) -> dict[str, Any]:
    """Thresholds, and the share of clips they keep, for `metrics/calibration.json`.

    From the result of `combine` or `of_view` ``threshold`` and ``kept`` by model; empty without scores. ``kept.cv`` is
    the share of the held-out clips, each fold by the threshold of the others; ``kept.test`` that of the test clips,
    where there are any. A test clip may be none of the labels.
    """
    thresholds: dict[str, float] = {}
    kept: dict[str, dict[str, float]] = {"cv": {}, "test": {}}
    for stage, table in scores.groupby("model"):
        heldout, test = (table[table["split"] == split] for split in ("heldout", "test"))
        values = heldout["score"].to_numpy(np.float64)
        thresholds[str(stage)] = threshold(values, keep)
        kept["cv"][str(stage)] = round(kept_out_of_fold(values, heldout["fold"].to_numpy(), keep), 6)
        if len(test):
            kept["test"][str(stage)] = round(float((test["score"] <= thresholds[str(stage)]).mean()), 6)
    return {"threshold": thresholds, "kept": {part: stages for part, stages in kept.items() if stages}}
