"""Which models make the submission, chosen without the clips that are scored, and what they make of it."""

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.scoring import selection

ALL = ["stage2", "last", "statistics"]


def predictions(model: str, rows: list[tuple[str, int, str, float]]) -> pd.DataFrame:
    """split, fold, fname and the probability of the first of two labels."""
    table = pd.DataFrame(rows, columns=["split", "fold", "fname", "a"]).assign(b=lambda table: 1 - table["a"])
    table.insert(0, "model", model)
    return table


def clips(shares: dict[str, float], *, n: int = 240, n_folds: int = 4) -> tuple[pd.DataFrame, dict[str, str]]:
    """Models that say 0.8 and are right in these shares of the held-out clips, independently; one test clip each."""
    rng, is_a = np.random.default_rng(0), np.arange(n) % 2 == 0
    tables = []
    for model, share in shares.items():
        p = np.where(is_a == (rng.permutation(n) < share * n), 0.8, 0.2)
        rows = [("heldout", row % n_folds, f"{row:03d}.wav", float(p[row])) for row in range(n)]
        tables.append(predictions(model, [("test", -1, "test.wav", share), *rows]))
    labels = {f"{row:03d}.wav": "a" if is_a[row] else "b" for row in range(n)}
    return pd.concat(tables, ignore_index=True), labels


def test_the_submission_is_the_geometric_mean_of_the_chosen_models_and_of_one_its_very_bytes() -> None:
    rows = [("test", -1, "x", 0.5), ("heldout", 0, "y", 0.8), ("heldout", 1, "z", 0.3)]
    stage2 = predictions("stage2", rows)
    other = predictions("last", [(split, fold, fname, 0.9) for split, fold, fname, _ in rows[::-1]])
    every = pd.concat([stage2, other], ignore_index=True)
    choice = {"test": ["stage2", "last"], "heldout": {"0": ["stage2"], "1": ["last"]}}
    found = selection.submission(every, choice)
    assert found["model"].tolist() == ["submission"] * 3 and found["fname"].tolist() == ["x", "y", "z"]
    np.testing.assert_allclose(found["a"], [0.75, 0.8, 0.9])  # sqrt(0.9) : sqrt(0.1) = 3 : 1
    alone = selection.choose(every, {}, ["stage2"], best=False)
    assert alone == {"test": ["stage2"], "heldout": {"0": ["stage2"], "1": ["stage2"]}, "without": {}}
    assert (selection.sole(alone), selection.sole(choice)) == ("stage2", None)
    expected = stage2.assign(model="submission")
    pd.testing.assert_frame_equal(selection.submission(every, alone), expected, check_exact=True)


def test_a_label_that_a_model_never_saw_stays_finite() -> None:
    every = pd.concat([predictions(model, [("test", -1, "x", 0.0)]) for model in ("stage2", "last")])
    found = selection.submission(every, {"test": ["stage2", "last"], "heldout": {}})
    assert found["a"].iloc[0] == pytest.approx(0, abs=1e-6) and found["b"].iloc[0] == pytest.approx(1)


def test_a_model_or_a_clip_without_predictions_is_named() -> None:
    every, labels = clips({"stage2": 0.9, "last": 0.9})
    with pytest.raises(
        FsatError, match=r"lists middle, of which there are no predictions: it needs a backbone that is"
    ):
        selection.choose(every, labels, ["middle"], best=False)
    short = every[(every["model"] != "last") | (every["fname"] != "003.wav")]
    with pytest.raises(FsatError, match=r"no prediction of clip 003\.wav by last"):
        selection.choose(short, labels, ["stage2", "last"], best=True)


def test_the_best_subset_leaves_out_what_says_nothing_and_keeps_what_adds() -> None:
    every, labels = clips({"stage2": 0.9, "last": 0.85, "statistics": 0.5})
    choice = selection.choose(every, labels, ALL, best=True)
    assert choice["test"] == ["stage2", "last"] and set(choice["heldout"]) == {"0", "1", "2", "3"}
    without = {model: pair["test"] for model, pair in choice["without"].items()}
    assert without == {"stage2": ["last"], "last": ["stage2"], "statistics": ["stage2", "last"]}
    everything = selection.choose(every, labels, ALL, best=False)
    assert everything["test"] == ALL and everything["without"]["last"]["heldout"]["2"] == ["stage2", "statistics"]


def test_a_fold_has_no_say_in_its_own_models() -> None:
    every, labels = clips({"stage2": 0.9, "last": 0.5})
    # In fold 1 alone stage 2 is always wrong, and surely.
    wrong = (every["model"] == "stage2") & (every["fold"] == 1)
    surely = every["fname"].map(labels).eq("b").astype(float)
    spoilt = every.assign(a=every["a"].where(~wrong, surely), b=every["b"].where(~wrong, 1 - surely))
    before, after = (selection.choose(table, labels, ["stage2", "last"], best=True) for table in (every, spoilt))
    assert before["heldout"]["1"] == after["heldout"]["1"] == ["stage2"]
    assert after["heldout"]["0"] == after["test"] == ["last"]


def test_of_equal_subsets_the_smallest_is_chosen() -> None:
    every, labels = clips({"stage2": 0.9})
    twice = pd.concat([every.assign(model="last"), every], ignore_index=True)
    assert selection.choose(twice, labels, ["stage2", "last"], best=True)["test"] == ["stage2"]


def test_there_is_nothing_to_choose_by_with_one_fold_or_two_clips_of_a_label() -> None:
    every, labels = clips({"stage2": 0.9, "last": 0.9})
    assert selection.why_all(every, labels, ["stage2"]) == ""
    assert (
        selection.why_all(every.assign(fold=every["fold"].clip(upper=0)), labels, ["stage2"]) == "one fold is trained"
    )
    few = dict(list(labels.items())[:5])
    assert selection.why_all(every, few, ["last"]) == "label b has 2 held-out clips, fewer than 3"
