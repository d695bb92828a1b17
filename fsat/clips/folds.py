"""Which fold holds each training clip out."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from fsat.core.errors import FsatError, listed

_listed = partial(listed, limit=20)


def assign(
    labels: Sequence[str],
    *,
    n_splits: int,
    seed: int,
    fold: Sequence[float] | None = None,
    group: Sequence[str] | None = None,
) -> np.ndarray:
    """Assign each clip to the fold that holds it out.

    Without `fold` and `group`, every label is spread evenly: ``StratifiedKFold(n_splits, shuffle=True)``.

    Parameters
    ----------
    labels : sequence of str, length n
    n_splits
        Number of folds, at least 2.
    seed
        Of the shuffle. The result depends on the order of the clips too.
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
        Names the labels with too few clips or all clips in one fold, the folds out of range or empty, or the groups
        that are split.
    """
    if fold is not None:
        folds = _check_given(np.asarray(fold, dtype=np.int64), n_splits)
        _check_groups(folds, group)
        _check_labels(labels, folds)
        return folds
    _check_sizes(labels, n_splits, group)
    n_groups = n_splits if group is None else len(set(group))
    if n_groups < n_splits:
        raise FsatError(f"{n_groups} groups cannot fill {n_splits} folds, being kept whole. Lower folds.n_splits.")
    # scikit-learn takes about a second to import.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = (StratifiedKFold if group is None else StratifiedGroupKFold)(n_splits, shuffle=True, random_state=seed)
    folds = np.full(len(labels), -1, dtype=np.int64)
    names = np.asarray(labels, dtype=str)
    for number, (_, held_out) in enumerate(splitter.split(np.zeros(len(names)), names, group)):
        folds[held_out] = number
    empty = sorted(set(range(n_splits)) - set(folds.tolist()))
    if empty:
        raise FsatError(f"folds {_listed(empty)} get no clip, groups being kept whole. Lower folds.n_splits.")
    return folds


def _check_given(folds: np.ndarray, n_splits: int) -> np.ndarray:
    numbers = set(folds.tolist())
    outside = sorted(numbers - set(range(n_splits)))
    if outside:
        raise FsatError(
            f"column fold has {_listed(outside)}, folds.n_splits is {n_splits}: it may have 0 to {n_splits - 1}. "
            f"Set folds.n_splits to the number of folds of the dataset ({max(numbers) + 1}?) or mend the column."
        )
    empty = sorted(set(range(n_splits)) - numbers)
    if empty:
        raise FsatError(
            f"column fold has no clip in {_listed(empty)}, folds.n_splits is {n_splits}. "
            f"Set folds.n_splits to the number of folds of the dataset ({len(numbers)}?) or mend the column."
        )
    return folds


def _check_groups(folds: np.ndarray, group: Sequence[str] | None) -> None:
    homes: dict[str, set[int]] = {}
    for name, number in zip(group if group is not None else (), folds.tolist(), strict=group is not None):
        homes.setdefault(name, set()).add(number)
    split = sorted(name for name, numbers in homes.items() if len(numbers) > 1)
    if split:
        raise FsatError(f"columns fold and group disagree: {_listed(split)} are in several folds. Mend one of the two.")


def _check_labels(labels: Sequence[str], folds: np.ndarray) -> None:
    homes: dict[str, set[int]] = {}
    for label, number in zip(labels, folds.tolist(), strict=True):
        homes.setdefault(label, set()).add(number)
    lone = [f"{label} (fold {min(numbers)})" for label, numbers in sorted(homes.items()) if len(numbers) == 1]
    if lone:
        raise FsatError(
            f"column fold has all clips of a label in one fold: {_listed(lone)}. The network that holds "
            "the fold out never sees the label: move clips to another fold, remove the column, or leave the label out."
        )


def _check_sizes(labels: Sequence[str], n_splits: int, group: Sequence[str] | None) -> None:
    clips: dict[str, int] = {}
    groups: dict[str, set[str]] = {}
    for position, label in enumerate(labels):
        clips[label] = clips.get(label, 0) + 1
        groups.setdefault(label, set()).add(str(position) if group is None else group[position])
    few = [f"{label} ({count})" for label, count in sorted(clips.items()) if count < n_splits]
    if few:
        raise FsatError(
            f"too few clips for {n_splits} folds (folds.n_splits): {_listed(few)}. "
            f"Every label needs at least {n_splits}: add clips, lower folds.n_splits, or leave the label out."
        )
    lone = [label for label, names in sorted(groups.items()) if len(names) < 2]
    if lone:
        raise FsatError(
            f"all clips in one group: {_listed(lone)}. A fold that holds the group out has nothing to learn the label "
            "from: every label needs clips of two groups at least."
        )
