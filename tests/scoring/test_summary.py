"""The summary of a run: headline, tables, the gain over the regression."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.scoring import summary
from fsat.scoring.names import MODELS, NAMES

ROOT = Path(__file__).parents[2]

LABELS = ["Cello", "Flute", "Oboe", "usage"]  # the last one is named as a column of the index is


# What `summary.summarise` needs besides tables: stage 2 is the submission, the statistics the baseline.
ASKED: dict[str, Any] = {
    "choice": {"test": ["stage2"], "heldout": {"0": ["stage2"], "1": ["stage2"]}, "without": {}},
    "baseline": "statistics",
}
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
    """All models tell the same but for a.wav (held out), where stage 1 is third, and x.wav, where it is second."""
    rows: list[tuple[str, str, int, str, list[float]]] = []
    for model in NAMES:
        rows += [(model, "test", -1, name, BEST["Cello"]) for name in ("y.wav", "ignored.wav", "unlabelled.wav")]
        rows += [(model, "test", -1, "tuba.wav", BEST["Cello"]), (model, "test", -1, "a.wav", BEST["Cello"])]
        rows += [(model, "heldout", 1, "c.wav", BEST["Oboe"]), (model, "heldout", 0, "b.wav", BEST["Flute"])]
        rows += [(model, "test", -1, "x.wav", BEST["Cello" if model == "stage1" else "Flute"])]
        rows += [(model, "heldout", 0, "a.wav", BEST["Oboe" if model == "stage1" else "Flute"])]
    columns = ["model", "split", "fold", "fname", *LABELS]
    table = pd.DataFrame([[*keys, *p] for *keys, p in rows], columns=columns)
    return table.astype(dict.fromkeys(LABELS, np.float32))


def test_summary(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    """Held-out: stage 1 has a.wav third, stage 2 second. Test: x.wav second, first; y.wav third; tuba never."""
    headline = summary.summarise(predicted, index, **ASKED).headline
    stage2 = round((1 / 2 + 2) / 3, 6)
    assert headline["cv"] == dict.fromkeys(NAMES, stage2) | {"stage1": round((1 / 3 + 2) / 3, 6)}
    assert headline["test"] == {
        "all": round((1 + 1 + 1 / 3 + 0) / 4, 6),
        "public": 1.0,
        "private": round((1 + 1 / 3 + 0) / 3, 6),
    }
    assert headline["gain"] == {"cv": 0.0, "test": 0.0}
    assert headline["n"] == {"cv": 3, "test": {"all": 4, "public": 1, "private": 3}}
    assert headline["accuracy"] == {"cv": round(2 / 3, 6), "test": {"all": 0.5, "public": 1.0, "private": 0.333333}}
    assert headline["ci95"]["test"]["public"] == [1.0, 1.0]
    low, high = headline["ci95"]["cv"]
    assert 0.5 <= low < headline["cv"]["submission"] < high <= 1.0
    json.dumps(headline, allow_nan=False)


def test_the_table_of_models_has_every_model_and_part(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    table = summary.summarise(predicted, index, **ASKED).models.set_index(["model", "split", "part"])
    parts = [("heldout", "all"), ("test", "all"), ("test", "public"), ("test", "private")]
    assert sorted(table.index) == sorted((model, *part) for model in (*MODELS, "submission") for part in parts)
    assert table.loc[("stage1", "test", "private"), "map3"] == round((1 / 2 + 1 / 3) / 3, 6)
    assert table.loc[("stage1", "test", "private"), "accuracy"] == 0.0


def test_the_gain_is_over_the_baseline(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    """The regression that has a.wav third, and x.wav second, as stage 1 has."""
    is_last = predicted["model"] == "last"
    worse = predicted[predicted["model"] == "stage1"].assign(model="last")
    asked = ASKED | {"baseline": "last"}
    headline = summary.summarise(pd.concat([predicted[~is_last], worse]), index, **asked).headline
    assert headline["gain"] == {"cv": pytest.approx(1 / 18, abs=2e-6), "test": 0.125}


def test_the_cost_of_a_model_is_what_the_submission_loses_without_it(
    index: pd.DataFrame, predicted: pd.DataFrame
) -> None:
    """The submission is stage 2 and middle; without stage 2 it would be stage 1, which has a.wav and x.wav lower."""
    pairs = {model: {"test": [model], "heldout": {"0": [model], "1": [model]}} for model in ("stage1", "stage2")}
    choice = pairs["stage2"] | {"without": {"stage2": pairs["stage1"], "middle": pairs["stage2"]}}
    models = summary.summarise(predicted, index, choice=choice, baseline="last").models
    costs = models.set_index(["model", "split", "part"])[["cost", "cost_low", "cost_high"]].dropna()
    assert set(costs.index.get_level_values("model")) == {"stage2", "middle"}
    assert costs["cost"]["stage2"].to_dict() == {
        ("heldout", "all"): pytest.approx(1 / 18, abs=2e-6), ("test", "all"): 0.125, ("test", "public"): 0.0,
        ("test", "private"): round(1 / 6, 6),
    }  # fmt: skip
    assert not costs.loc["middle"].to_numpy().any()
    low, high = costs["cost_low"]["stage2", "test", "all"], costs["cost_high"]["stage2", "test", "all"]
    assert low == 0 and 0.125 < high <= 0.5


def test_summary_tables(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    found = summary.summarise(predicted, index, **ASKED)
    assert [" ".join(pair) for pair in found.confusion.to_numpy()] == ["Cello Flute", "Flute Flute", "Oboe Oboe"]
    pairs = [" ".join(pair) for pair in found.confusion_test.to_numpy()]
    assert pairs == ["Cello Cello", "Tuba Cello", "Flute Flute", "Oboe Cello"]
    per_class = found.per_class.set_index("label")
    assert per_class["cv_support"].to_dict() == {"Cello": 1, "Flute": 1, "Oboe": 1, "usage": 0}
    assert list(per_class.loc["Cello", ["cv_stage1_map3", "cv_stage2_map3"]]) == [round(1 / 3, 6), 0.5]
    assert per_class.loc["Oboe", "test_submission_accuracy"] == 0.0
    assert np.isnan(per_class["cv_stage1_map3"]["usage"])
    assert found.per_fold[["fold", "n", "submission_map3"]].to_numpy().tolist() == [[0, 2, 0.75], [1, 1, 1.0]]
    backwards = summary.summarise(predicted.iloc[::-1], index.iloc[::-1], **ASKED)
    assert backwards.headline == found.headline and backwards.confusion.equals(found.confusion)


@pytest.mark.parametrize("labelled", [False, True])
def test_summary_without_a_test_score(index: pd.DataFrame, predicted: pd.DataFrame, labelled: bool) -> None:
    """No test set at all, or one without labels."""
    if labelled:
        index.loc[index["split"] == "test", "label"] = np.nan
    else:
        index, predicted = index[index["split"] == "train"], predicted[predicted["split"] == "heldout"]
    found = summary.summarise(predicted, index, **ASKED)
    assert found.headline["test"] == {}
    assert found.headline["n"] == {"cv": 3, "test": {}} and list(found.headline["gain"]) == ["cv"]
    assert list(found.confusion_test.columns) == ["actual", "predicted"] and len(found.confusion_test) == 0
    assert (found.per_class["test_support"] == 0).all()


def test_summary_of_a_test_set_without_usage(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    index["usage"] = np.nan
    assert summary.summarise(predicted, index, **ASKED).headline["n"]["test"] == {"all": 5}


def test_summary_of_files_that_do_not_belong_together(index: pd.DataFrame, predicted: pd.DataFrame) -> None:
    for predictions, clips, message in (
        (predicted[predicted["fname"] != "y.wav"], index, r"no prediction of test clip y\.wav by submission"),
        (predicted, index[index["fname"] != "y.wav"], r"clip y\.wav, which data/index\.csv does not have"),
        (pd.concat([predicted, predicted]), index, "two predictions of clip"),
        (predicted[predicted["split"] == "test"], index, "no predictions of held-out clips by submission"),
    ):
        with pytest.raises(FsatError, match=message):
            summary.summarise(predictions, clips, **ASKED)


def leaves(tree: object) -> int:
    """Lines that `dvc metrics diff` prints for a file whose values all change: a line a number, none for a list."""
    return sum(map(leaves, tree.values())) if isinstance(tree, dict) else int(not isinstance(tree, list))


def test_the_metrics_that_a_training_changes_fit_one_screen() -> None:
    files = [ROOT / "metrics" / f"{name}.json" for name in ("map3", "calibration", "labels")]
    assert sum(leaves(json.loads(file.read_text(encoding="utf-8"))) for file in files) <= 38  # and two lines of heads
