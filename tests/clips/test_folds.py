"""Who is held out when."""

import numpy as np
import pandas as pd
import pytest

from fsat.clips import folds
from fsat.core.errors import FsatError

LABELS = ["Cello"] * 10 + ["Oboe"] * 7 + ["Flute"] * 4


def test_another_seed_gives_other_folds() -> None:
    first = folds.assign(LABELS, n_splits=3, seed=1)
    assert first.dtype == np.int64
    assert not np.array_equal(first, folds.assign(LABELS, n_splits=3, seed=2))


def test_is_scikit_learns_split() -> None:
    from sklearn.model_selection import StratifiedKFold

    number = folds.assign(LABELS, n_splits=4, seed=7)
    splits = StratifiedKFold(4, shuffle=True, random_state=7).split(LABELS, LABELS)
    for fold, (_, held_out) in enumerate(splits):
        assert np.flatnonzero(number == fold).tolist() == held_out.tolist()


def test_fewer_clips_of_a_label_than_folds_make_fewer_folds(capsys: pytest.CaptureFixture[str]) -> None:
    number = folds.assign(LABELS, n_splits=8, seed=7)
    assert number.tolist() == folds.assign(LABELS, n_splits=4, seed=7).tolist() and set(number) == {0, 1, 2, 3}
    said = capsys.readouterr().err
    assert said == "note: 4 folds instead of 8 (folds.n_splits), as label Flute has 4 clips\n"


def test_the_datasets_own_folds_are_used_as_they_are() -> None:
    given = [position % 5 for position in range(len(LABELS))]
    assert folds.assign(LABELS, n_splits=5, seed=1, fold=given).tolist() == given


def test_groups_are_never_split() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["Cello", "Oboe", "Flute"], 300)
    group = rng.integers(0, 60, 300).astype(str)
    number = folds.assign(labels.tolist(), n_splits=5, seed=3, group=group.tolist())
    homes = pd.Series(number).groupby(group).nunique()
    assert (homes == 1).all()
    assert set(number) == set(range(5))
    assert np.bincount(number).min() > 40


@pytest.mark.parametrize(
    ("stations", "seed", "draw"),
    [
        (("34", "34", "35", "45"), 0, ""),
        (("15", "12", "24", "25"), 0, "StratifiedGroupKFold of seed 3"),
        (("34", "45", "35", "25"), 2**32 - 1, "StratifiedGroupKFold of seed 0"),
        (("45", "25", "15", "45"), 0, "GroupKFold of seed 4"),
    ],
)
def test_every_label_is_in_two_folds_by_a_later_draw_if_need_be_which_is_named(
    stations: tuple[str, ...], seed: int, draw: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four labels at two stations each."""
    labels = [label for label in "abcd" for _ in range(4)]
    group = [station[clip % 2] for station in stations for clip in range(4)]
    number = folds.assign(labels, n_splits=3, seed=seed, group=group)
    assert (pd.Series(number).groupby(labels).nunique() > 1).all()
    assert (pd.Series(number).groupby(group).nunique() == 1).all() and set(number) == {0, 1, 2}
    said = capsys.readouterr().err
    assert said.startswith(f"note: folds by {draw}: ") if draw else not said


FEW = ["Cello"] * 4 + ["Oboe"] * 2


@pytest.mark.parametrize(
    ("labels", "n_splits", "own", "part"),
    [
        (FEW[2:], 3, {"fold": [0, 1, 2, 5]}, r"has 5, folds\.n_splits is 3: it may have 0 to 2"),
        (FEW[2:], 3, {"fold": [-1, 0, 1, 2]}, "has -1"),
        (FEW[2:], 3, {"fold": [0, 0, 2, 2]}, "no clip in 1"),
        (FEW, 2, {"fold": [0, 0, 1, 1, 1, 1]}, r"all clips of a label in one fold: Oboe \(fold 1\)\."),
        (FEW[:4], 2, {"fold": [0, 0, 1, 1], "group": ["g0", "g1", "g1", "g2"]}, "disagree: g1 are in several folds"),
        (FEW, 2, {"group": list("abcdee")}, "all clips in one group: Oboe"),
        (["Cello", "Oboe"] * 6, 5, {"group": list("aabb") * 3}, "2 groups cannot fill 5 folds"),
        # Three labels at two of three stations each: two folds always leave one of them together.
        (
            list("aabbcc"),
            2,
            {"group": list("122331")},
            r"draws .* label in one fold: [abc] \(fold [01]\)\. The network",
        ),
        ([*LABELS, "Horn"], 8, {}, r"too few clips for 2 folds \(folds.n_splits\): Horn \(1\)\. Every label needs at"),
    ],
)
def test_labels_groups_and_own_folds_that_do_not_fit_are_named(
    labels: list[str], n_splits: int, own: dict[str, list], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FsatError, match=part):
        folds.assign(labels, n_splits=n_splits, seed=1, **own)
    assert "folds instead of" not in capsys.readouterr().err  # nothing is promised before it is refused
