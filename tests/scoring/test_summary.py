"""The summary of a run: headline, tables, the gain over the baseline."""

import doctest
import json

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.scoring import baseline, outcomes, summary
from fsat.scoring.names import STAGES

LABELS = ["Cello", "Flute", "Oboe", "usage"]  # the last one is named as a column of the index is


def predictions(rows: list[tuple[str, str, int, str, list[float]]]) -> pd.DataFrame:
    table = pd.DataFrame([[*row[:4], *row[4]] for row in rows], columns=["stage", "split", "fold", "fname", *LABELS])
    return table.astype(dict.fromkeys(LABELS, np.float32))


BEST = {"Cello": [0.7, 0.2, 0.1, 0.0], "Flute": [0.2, 0.7, 0.1, 0.0], "Oboe": [0.1, 0.2, 0.7, 0.0]}


@pytest.fixture
def index() -> pd.DataFrame:
    rows = [
        ("train", "a.wav", "Cello", ""),
        ("train", "b.wav", "Flute", ""),
        ("train", "c.wav", "Oboe", ""),
        ("train", "never-held-out.wav", "Oboe", ""),
        ("test", "a.wav", "Cello", "Public"),
        ("test", "x.wav", "Flute", "Private"),
        ("test", "y.wav", "Oboe", "Private"),
        ("test", "ignored.wav", "Oboe", "Ignored"),
        ("test", "unlabelled.wav", "", ""),
        ("test", "tuba.wav", "Tuba", "Private"),
    ]
    return pd.DataFrame(rows, columns=["split", "fname", "label", "usage"]).replace("", np.nan).assign(verified=np.nan)


@pytest.fixture
def predicted() -> pd.DataFrame:
    rows: list[tuple[str, str, int, str, list[float]]] = []
    for stage in STAGES:
        rows += [(stage, "test", -1, name, BEST["Cello"]) for name in ("y.wav", "ignored.wav", "unlabelled.wav")]
        rows += [(stage, "test", -1, "tuba.wav", BEST["Cello"]), (stage, "test", -1, "a.wav", BEST["Cello"])]
        rows += [(stage, "heldout", 1, "c.wav", BEST["Oboe"]), (stage, "heldout", 0, "b.wav", BEST["Flute"])]
    rows += [("stage1", "test", -1, "x.wav", BEST["Cello"]), ("stage2", "test", -1, "x.wav", BEST["Flute"])]
    rows += [("stage1", "heldout", 0, "a.wav", BEST["Oboe"]), ("stage2", "heldout", 0, "a.wav", BEST["Flute"])]
    return predictions(rows)


def test_summary(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    """Held-out: stage 1 has a.wav third, stage 2 second. Test: x.wav second, first; y.wav third; tuba never."""
    found = summary.summarise(predicted, index)
    headline = found.headline
    assert headline["cv"] == {"stage1": round((1 / 3 + 2) / 3, 6), "stage2": round((1 / 2 + 2) / 3, 6)}
    assert headline["test"] == {
        "all": round((1 + 1 + 1 / 3 + 0) / 4, 6),
        "public": 1.0,
        "private": round((1 + 1 / 3 + 0) / 3, 6),
        "stage1": {
            "all": round((1 + 1 / 2 + 1 / 3) / 4, 6),
            "public": 1.0,
            "private": round((1 / 2 + 1 / 3) / 3, 6),
        },
    }
    assert headline["n"] == {"cv": 3, "test": {"all": 4, "public": 1, "private": 3}}
    assert headline["accuracy"]["cv"] == {"stage1": round(2 / 3, 6), "stage2": round(2 / 3, 6)}
    assert headline["accuracy"]["test"]["all"] == 0.5
    assert headline["ci95"]["test"]["public"] == [1.0, 1.0]
    low, high = headline["ci95"]["cv"]["stage2"]
    assert 0.5 <= low < headline["cv"]["stage2"] < high <= 1.0
    assert list(headline) == ["cv", "test", "ci95", "accuracy", "n"]
    json.dumps(headline, allow_nan=False)


def test_summary_tables(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    found = summary.summarise(predicted, index)
    assert found.confusion.to_numpy().tolist() == [["Cello", "Flute"], ["Flute", "Flute"], ["Oboe", "Oboe"]]
    assert found.confusion_test.to_numpy().tolist() == [
        ["Cello", "Cello"],
        ["Tuba", "Cello"],
        ["Flute", "Flute"],
        ["Oboe", "Cello"],
    ]
    per_class = found.per_class.set_index("label")
    assert per_class.index.tolist() == LABELS
    assert per_class["cv_support"].tolist() == [1, 1, 1, 0]
    assert per_class.loc["Cello", "cv_stage1_map3"] == round(1 / 3, 6)
    assert per_class.loc["Cello", "cv_stage2_map3"] == 0.5
    assert per_class.loc["Oboe", "test_stage2_accuracy"] == 0.0
    assert np.isnan(per_class["cv_stage1_map3"]["usage"])
    per_fold = found.per_fold
    assert per_fold["fold"].tolist() == [0, 1]
    assert per_fold["n"].tolist() == [2, 1]
    assert per_fold["stage2_map3"].tolist() == [0.75, 1.0]


def test_summary_does_not_depend_on_the_order_of_rows(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    first = summary.summarise(predicted, index)
    second = summary.summarise(predicted.iloc[::-1], index.iloc[::-1])
    assert first.headline == second.headline
    assert first.confusion.equals(second.confusion)


@pytest.mark.parametrize("labelled", [False, True])
def test_summary_without_a_test_score(index: pd.DataFrame, predicted: pd.DataFrame, labelled: bool) -> None:
    """No test set at all, or one without labels."""
    if labelled:
        index.loc[index["split"] == "test", "label"] = np.nan
    else:
        index, predicted = index[index["split"] == "train"], predicted[predicted["split"] == "heldout"]
    found = summary.summarise(predicted, index)
    assert found.headline["test"] == {}
    assert found.headline["n"] == {"cv": 3, "test": {}}
    assert list(found.confusion_test.columns) == ["actual", "predicted"]
    assert len(found.confusion_test) == 0
    assert found.per_class["test_support"].tolist() == [0, 0, 0, 0]


def test_summary_of_a_test_set_without_usage(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    index["usage"] = np.nan
    assert summary.summarise(predicted, index).headline["n"]["test"] == {"all": 5}


def test_summary_of_files_that_do_not_belong_together(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    with pytest.raises(FsatError, match=r"no prediction of test clip y\.wav by stage1"):
        summary.summarise(predicted[predicted["fname"] != "y.wav"], index)
    with pytest.raises(FsatError, match=r"prediction of clip y\.wav, which data/index\.csv does not have"):
        summary.summarise(predicted, index[index["fname"] != "y.wav"])
    with pytest.raises(FsatError, match="two predictions of clip"):
        summary.summarise(pd.concat([predicted, predicted]), index)
    with pytest.raises(FsatError, match="no predictions of held-out clips by stage1"):
        summary.summarise(predicted[predicted["split"] == "test"], index)


def test_gain_is_stage_2_minus_baseline() -> None:
    headline = {"cv": {"stage1": 0.9, "stage2": 0.6}, "test": {"all": 0.5, "stage1": {"all": 0.9}}}
    better = {"cv": 0.7, "test": {"all": 0.4, "public": 1.0}}
    assert summary.gain(headline, better) == {"cv": -0.1, "test": 0.1}
    assert summary.gain(headline | {"test": {}}, better | {"test": {}}) == {"cv": -0.1}


def test_both_models_are_scored_by_one_function(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    """The baseline with the predictions of stage 2 gets the scores of stage 2."""
    mine = predicted[predicted["stage"] == "stage2"].assign(stage="baseline")
    clips = [outcomes.outcome(mine, index, split=split, stage="baseline").clips for split in ("heldout", "test")]
    found, headline = summary.scores(*clips), summary.summarise(predicted, index).headline
    assert found["cv"] == headline["cv"]["stage2"] and found["n"] == headline["n"]
    for part in ("all", "public", "private"):
        assert found["test"][part] == headline["test"][part]
        assert found["ci95"]["test"][part] == headline["ci95"]["test"][part]
        assert found["accuracy"]["test"][part] == headline["accuracy"]["test"][part]


def test_summary_docstrings() -> None:
    for module in (summary, baseline):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0
