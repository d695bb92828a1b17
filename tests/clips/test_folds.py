"""Who is held out when."""

import numpy as np
import pandas as pd
import pytest

from fsat.clips import folds
from fsat.core.errors import FsatError
from shared_data import SHARED, needs

META = "fsdkaggle2018_meta/train_post_competition.csv"
LABELS = ["Cello"] * 10 + ["Oboe"] * 7 + ["Flute"] * 4


@needs(META)
def test_real_labels_of_fsdkaggle2018() -> None:
    """Ten folds of 947 or 948 clips, each label's share within one clip of a tenth."""
    labels = pd.read_csv(SHARED / META)["label"]
    number = folds.assign(labels.tolist(), n_splits=10, seed=20180629)
    assert sorted(set(number)) == list(range(10))
    assert np.bincount(number).sum() == 9473
    assert set(np.bincount(number)) == {947, 948}
    counts = pd.crosstab(labels, number)  # (41 labels, 10 folds)
    assert counts.shape == (41, 10)
    assert (counts.sub(counts.sum(axis=1) / 10, axis=0).abs() < 1).all(axis=None)


def test_depends_on_the_seed_alone() -> None:
    first, again = (folds.assign(LABELS, n_splits=3, seed=1) for _ in range(2))
    assert first.dtype == np.int64
    assert np.array_equal(first, again)
    assert not np.array_equal(first, folds.assign(LABELS, n_splits=3, seed=2))


def test_is_scikit_learns_split() -> None:
    from sklearn.model_selection import StratifiedKFold

    number = folds.assign(LABELS, n_splits=4, seed=7)
    splits = StratifiedKFold(4, shuffle=True, random_state=7).split(LABELS, LABELS)
    for fold, (_, held_out) in enumerate(splits):
        assert np.flatnonzero(number == fold).tolist() == held_out.tolist()


def test_the_datasets_own_folds_are_used_as_they_are() -> None:
    given = [position % 5 for position in range(len(LABELS))]
    assert folds.assign(LABELS, n_splits=5, seed=1, fold=given).tolist() == given


@pytest.mark.parametrize(
    ("fold", "part"),
    [
        ([0, 1, 2, 5], r"has 5, folds\.n_splits is 3: it may have 0 to 2"),
        ([-1, 0, 1, 2], "has -1"),
        ([0, 0, 2, 2], "no clip in 1"),
    ],
)
def test_own_folds_that_do_not_fit(fold: list[int], part: str) -> None:
    with pytest.raises(FsatError, match=part):
        folds.assign(["Cello", "Oboe"] * 2, n_splits=3, seed=1, fold=fold)


def test_groups_are_never_split() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["Cello", "Oboe", "Flute"], 300)
    group = rng.integers(0, 60, 300).astype(str)
    number = folds.assign(labels.tolist(), n_splits=5, seed=3, group=group.tolist())
    homes = pd.Series(number).groupby(group).nunique()
    assert (homes == 1).all()
    assert set(number) == set(range(5))
    assert np.bincount(number).min() > 40


def test_own_folds_that_split_a_group() -> None:
    with pytest.raises(FsatError, match="columns fold and group disagree: g1 are in several folds"):
        folds.assign(["Cello"] * 4, n_splits=2, seed=1, fold=[0, 0, 1, 1], group=["g0", "g1", "g1", "g2"])


def test_too_few_clips_names_the_labels() -> None:
    with pytest.raises(FsatError, match=r"too few clips for 8 folds \(folds.n_splits\): Flute \(4\), Oboe \(7\)\."):
        folds.assign(LABELS, n_splits=8, seed=1)


def test_a_label_in_one_group_alone() -> None:
    with pytest.raises(FsatError, match="all clips in one group: Oboe"):
        folds.assign(["Cello"] * 4 + ["Oboe"] * 2, n_splits=2, seed=1, group=["a", "b", "c", "d", "e", "e"])


def test_groups_too_few_for_the_folds() -> None:
    with pytest.raises(FsatError, match="2 groups cannot fill 5 folds"):
        folds.assign(["Cello", "Oboe"] * 6, n_splits=5, seed=1, group=["a", "a", "b", "b"] * 3)


def test_a_label_in_one_of_the_datasets_own_folds_alone() -> None:
    with pytest.raises(FsatError, match=r"all clips of a label in one fold: Oboe \(fold 1\)\."):
        folds.assign(["Cello"] * 4 + ["Oboe"] * 2, n_splits=2, seed=1, fold=[0, 0, 1, 1, 1, 1])
