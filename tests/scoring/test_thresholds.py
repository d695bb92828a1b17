"""Thresholds of labels, from held-out windows and clips."""

import numpy as np
import pandas as pd
import pytest

from fsat.scoring import thresholds


def at(table: pd.DataFrame, label: str, threshold: float) -> dict[str, float]:
    """Precision, recall and F1 of a label at a threshold."""
    [row] = table[(table["label"] == label) & (table["threshold"] == threshold)].to_dict("records")
    return {name: row[name] for name in ("precision", "recall", "f1")}


def test_curves_count_what_reaches_each_threshold() -> None:
    probabilities = np.array([[0.9], [0.6], [0.6], [0.2]])
    table = thresholds.curves(probabilities, np.array([[True], [True], [False], [False]]), ["Bark"])
    assert at(table, "Bark", 0.2) == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3})
    assert at(table, "Bark", 0.6) == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8})
    assert at(table, "Bark", 0.62) == pytest.approx({"precision": 1.0, "recall": 0.5, "f1": 2 / 3})
    assert np.isnan(at(table, "Bark", 0.96)["precision"])


def test_a_threshold_has_the_highest_f1_among_those_that_are_right_often_enough() -> None:
    rng = np.random.default_rng(0)
    holds = np.zeros((1000, 3), dtype=bool)
    holds[:100] = True
    probabilities = rng.uniform(0, 0.3, (1000, 3))
    probabilities[:100, 0] = rng.uniform(0.25, 1, 100)  # told from others but for a few
    probabilities[:, 2] = 0.2  # not told at all
    table = thresholds.curves(probabilities, holds, ["Bark", "Gong", "Rain"])
    found, why = thresholds.choose(table, {"Bark": 20, "Gong": 9, "Rain": 20}, precision=0.5)
    f1 = {level: at(table, "Bark", level)["f1"] for level in thresholds.GRID}
    assert f1[found["Bark"]] == max(f1.values()) and 0.25 < found["Bark"] <= 0.32
    assert found["Gong"] == found["Rain"] == thresholds.UNCHOSEN
    assert why == {
        "Gong": "9 held-out examples, fewer than 10",
        "Rain": "at no threshold right in 50% of what reaches it",
    }
    strict, _ = thresholds.choose(table, {"Bark": 20}, precision=1.0)
    assert at(table, "Bark", strict["Bark"])["precision"] == 1.0 and strict["Bark"] >= found["Bark"]
    silent = table[table["label"] == "Bark"].assign(f1=0.0)  # no event agrees
    assert 0 < thresholds.choose(silent, {"Bark": 20}, precision=0.5)[0]["Bark"] < found["Bark"]


def test_a_label_that_is_never_right_often_enough_is_quiet_in_recordings() -> None:
    probabilities = np.repeat([0.9, 0.6, 0.3], [4, 5, 3])[:, None]
    holds = np.repeat([True, False, True], [1, 8, 3])[:, None]  # right in 1 of 4, 1 of 9, 4 of 12
    table = thresholds.curves(probabilities, holds, ["Bark"])
    found = [thresholds.choose(table, {"Bark": 20}, precision=0.5, nearest=nearest) for nearest in (False, True)]
    assert [level for level, _ in found] == [{"Bark": 0.5}, {"Bark": 0.62}]
    assert found[0][1] == found[1][1] and "Bark" in found[0][1]
    quiet = thresholds.curves(np.full((20, 1), 0.2), holds[:1].repeat(20, axis=0) & (np.arange(20)[:, None] < 4), ["A"])
    assert thresholds.choose(quiet, {"A": 20}, precision=0.5, nearest=True)[0] == {"A": 0.5}
