"""Which fold holds each training clip out."""

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from fsat.core.errors import FsatError, listed

_listed = partial(listed, limit=20)

# Of a recording, where there are fewer recordings than folds.
PART_S = 300

# Seeds that are tried with either splitter where groups are kept whole.
DRAWS = 20


def assign(
    labels: Sequence[str],
    *,
    n_splits: int,
    seed: int,
    fold: Sequence[float] | None = None,
    group: Sequence[str] | None = None,
) -> np.ndarray:
    """Assign each clip to the fold that holds it out.

    Without `fold`, a label with fewer clips than folds makes as many folds as it has clips, at least 2, which is noted
    on stderr. Without `group` too, every label is spread evenly: ``StratifiedKFold(n_splits, shuffle=True)``. With it,
    ``StratifiedGroupKFold`` of `seed`; where that leaves a fold empty or all clips of a label in one fold, the first
    good draw of the next seeds, then of ``GroupKFold`` and the same seeds, which is noted on stderr.

    Parameters
    ----------
    labels : sequence of str, length n
        The result depends on their order, and on `seed`.
    fold : sequence of int, length n, optional
        Folds that the dataset brings along, used as they are; they must be 0 .. n_splits - 1, each with a clip, and
        every label must have clips in two of them: a label with one clip is refused as it is without `fold`.
    group : sequence of str, length n, optional
        Clips of a group (a speaker, a recording) always share a fold.

    Returns
    -------
    np.ndarray [shape=(n,), dtype=int64]

    Raises
    ------
    FsatError
        Names the labels with too few clips or all clips in one fold (with `group`: after every draw), the folds out of
        range or empty, or the groups that are split.
    """
    if fold is not None:
        folds = np.asarray(fold, dtype=np.int64)
        _check_given(labels, folds, group, n_splits)
        return folds
    n_splits = _possible(labels, n_splits)
    _check_sizes(labels, n_splits, group)
    n_groups = n_splits if group is None else len(set(group))
    if n_groups < n_splits:
        raise FsatError(f"{n_groups} groups cannot fill {n_splits} folds, being kept whole. Lower folds.n_splits.")
    # scikit-learn takes about a second to import.
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    kinds = [StratifiedKFold] if group is None else [StratifiedGroupKFold] * DRAWS + [GroupKFold] * DRAWS
    names = np.asarray(labels, dtype=str)
    for draw, kind in enumerate(kinds):
        own = (seed + draw % DRAWS) % 2**32
        folds = np.full(len(labels), -1, dtype=np.int64)
        splits = kind(n_splits, shuffle=True, random_state=own).split(np.zeros(len(names)), names, group)
        for number, (_, held_out) in enumerate(splits):
            folds[held_out] = number
        empty, lone = sorted(set(range(n_splits)) - set(folds.tolist())), _in_one_fold(labels, folds)
        if not empty and not lone:
            if draw:
                why = f"{kinds[0].__name__} of folds.seed {seed} leaves a fold empty or a label in one fold"
                print(f"note: folds by {kind.__name__} of seed {own}: {why}", file=sys.stderr)
            return folds
    wrong = (
        f"leaves folds {_listed(empty)} empty" if empty else f"has all clips of a label in one fold: {_listed(lone)}"
    )
    raise FsatError(
        f"groups being kept whole, the last of {len(kinds)} draws from folds.seed {seed} on {wrong}. {_UNSEEN}: lower "
        "folds.n_splits, add clips of other groups, give the table a column fold, or leave the label out."
    )


def groups(train: pd.DataFrame, *, n_splits: int) -> list[str] | None:
    """Groups of the training clips, rows of `data/index.csv`, for `assign`; None if they have none.

    Where clips are stretches of fewer recordings than folds, and nobody gave other groups, those of a recording are its
    stretches of `PART_S` seconds, which is noted on stderr.
    """
    if "group" not in train:
        return None
    recordings = train["path"].nunique()
    if "start" in train and recordings < n_splits and (train["group"] == train["path"]).all():
        what = f"{recordings} annotated recordings for {n_splits} folds: their stretches of {PART_S // 60} minutes"
        print(f"note: {what} are the groups, so that the score is of one place, not of others.", file=sys.stderr)
        part = (train["start"] // PART_S * PART_S).astype(int).astype(str)
        return (train["path"] + "@" + part).tolist()
    return list(train["group"])


def _check_given(labels: Sequence[str], folds: np.ndarray, group: Sequence[str] | None, n_splits: int) -> None:
    numbers = set(folds.tolist())
    outside, empty = sorted(numbers - set(range(n_splits))), sorted(set(range(n_splits)) - numbers)
    if outside or empty:
        what = _listed(outside) if outside else f"no clip in {_listed(empty)}"
        guess = max(numbers) + 1 if outside else len(numbers)
        raise FsatError(
            f"column fold has {what}, folds.n_splits is {n_splits}: it may have 0 to {n_splits - 1}. "
            f"Set folds.n_splits to the number of folds of the dataset ({guess}?) or mend the column."
        )
    table = pd.DataFrame({"fold": folds, "label": labels, "group": group})
    homes = table.groupby("group")["fold"].nunique()
    if split := homes.index[homes > 1].tolist():
        raise FsatError(f"columns fold and group disagree: {_listed(split)} are in several folds. Mend one of the two.")
    if lone := _in_one_fold(labels, folds):
        raise FsatError(
            f"column fold has all clips of a label in one fold: {_listed(lone)}. {_UNSEEN}: move clips to another "
            "fold, remove the column, or leave the label out."
        )


_UNSEEN = "The network that holds the fold out never sees the label"


def _in_one_fold(labels: Sequence[str], folds: np.ndarray) -> list[str]:
    """Labels whose clips share one fold, with the fold."""
    ranges = pd.DataFrame({"label": labels, "fold": folds}).groupby("label")["fold"].agg(["min", "max"])
    return [f"{label} (fold {first})" for label, first, last in ranges.itertuples() if first == last]


def _possible(labels: Sequence[str], n_splits: int) -> int:
    """At most `n_splits` folds: as many as the smallest label has clips, at least 2; fewer than asked for are noted."""
    sizes = pd.Series(labels, dtype=object).value_counts()
    found = min(n_splits, max(2, int(sizes.min())))
    if 2 <= sizes.min() < n_splits:
        why = f"label {sizes.idxmin()} has {sizes.min()} clips"
        print(f"note: {found} folds instead of {n_splits} (folds.n_splits), as {why}", file=sys.stderr)
    return found


def _check_sizes(labels: Sequence[str], n_splits: int, group: Sequence[str] | None) -> None:
    table = pd.DataFrame({"label": labels, "group": range(len(labels)) if group is None else group})
    sizes = table.groupby("label")["group"].agg(["size", "nunique"])
    few = [f"{label} ({size})" for label, size, _ in sizes.itertuples() if size < n_splits]
    if few:
        raise FsatError(
            f"too few clips for {n_splits} folds (folds.n_splits): {_listed(few)}. "
            f"Every label needs at least {n_splits}: add clips, or leave the label out."
        )
    if lone := sizes.index[sizes["nunique"] < 2].tolist():
        raise FsatError(
            f"all clips in one group: {_listed(lone)}. A fold that holds the group out has nothing to learn the label "
            "from: every label needs clips of two groups at least."
        )
