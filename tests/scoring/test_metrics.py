"""MAP@3, accuracy, bootstrap, and scores of submissions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.scoring import metrics
from fsat.scoring.ranking import top_k
from shared_data import SHARED, needs

ROOT = Path(__file__).parents[2]


# --- scores ----------------------------------------------------------------------------------------------------------


def slow_map3(scores: np.ndarray, labels: np.ndarray) -> float:
    """Kaggle's definition, clip by clip."""
    total = 0.0
    for row, label in zip(scores, labels, strict=True):
        ranked = sorted(range(len(row)), key=lambda column: (-row[column], column))
        for place, column in enumerate(ranked[:3], start=1):
            if column == label:
                total += 1 / place
    return total / len(labels)


def test_map3_equals_the_slow_definition_ties_included() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 4, (500, 6)) / 4, rng.integers(0, 6, 500)
    assert metrics.map_at_k(scores, labels) == pytest.approx(slow_map3(scores, labels), abs=1e-12)


def test_map3_of_few_classes_unknown_labels_nan_and_no_clips() -> None:
    assert metrics.map_at_k(np.array([[0.3, 0.7]]), np.array([0])) == 0.5
    assert metrics.map_at_k(np.array([[0.6, 0.4]]), np.array([-1])) == 0.0
    assert top_k(np.array([[np.nan, 0.1, 0.2]])).tolist() == [[2, 1, 0]]
    with pytest.raises(ValueError, match="no clips"):
        metrics.map_at_k(np.zeros((0, 3)), np.zeros(0, dtype=int))


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = metrics.bootstrap_interval(rng.random(60) < 0.7, n_resamples=300)
        covered += low <= 0.7 <= high
    # 95 % of 200, minus the small-sample deficit of the percentile interval; 5 sigma is 15.
    assert 172 <= covered <= 199


# --- submissions -----------------------------------------------------------------------------------------------------


def table(*rows: str, columns: str = "fname,label") -> pd.DataFrame:
    return pd.DataFrame([row.split(",") for row in rows], columns=columns.split(","))


TRUTH = table("a.wav,Hi-hat,Public", "b.wav,Oboe,Private", "c.wav,None,Ignored", columns="fname,label,usage")


def test_score_of_one_row() -> None:
    for guess, score in {
        "Oboe Flute Hi-hat": 1.0,
        "Flute Oboe Hi-hat": 0.5,
        "Flute Hi-hat Oboe": 1 / 3,
        "Flute Hi-hat Tuba Oboe": 0.0,
        "Flute Flute Oboe": 1 / 3,
        "Oboe Oboe Oboe": 1.0,
        "Oboe": 1.0,
        "": 0.0,
    }.items():
        found, _ = metrics.score_submission(table(f"b.wav,{guess}", "a.wav,Hi-hat", "c.wav,Oboe"), TRUTH)
        assert {part: values.tolist() for part, values in found.items()} == {
            "all": [1.0, score], "public": [1.0], "private": [score]
        }  # fmt: skip


def test_a_label_spelled_in_another_case_is_matched_and_noted() -> None:
    found, notes = metrics.score_submission(table("a.wav,Hi-Hat Oboe Flute", "b.wav,OBOE"), TRUTH)
    assert found["all"].tolist() == [1.0, 1.0]
    assert notes[:2] == ["Hi-Hat is taken for Hi-hat", "OBOE is taken for Oboe"]
    assert "1 labels that the truth does not have score nothing: Flute" in notes[2]


def test_rows_that_are_missing_or_double() -> None:
    without_label, ignored = TRUTH.drop(columns="label"), TRUTH[TRUTH["fname"] == "c.wav"]
    for submission, truth, message in (
        (table("a.wav,Oboe"), TRUTH, r"1 of 2 clips have no row: b\.wav"),
        (table("a.wav,Oboe", "a.wav,Oboe", "b.wav,Oboe"), TRUTH, r"submission: a\.wav listed more than once"),
        (table("a.wav,Oboe"), without_label, "truth: no column label"),
        (table("c.wav,Oboe"), ignored, "no row scores"),
    ):
        with pytest.raises(FsatError, match=message):
            metrics.score_submission(submission, truth)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "fsat.scoring.metrics", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)


@needs("fsdkaggle2018_meta")
def test_command_on_the_real_sample_submission() -> None:
    """Three labels for all clips: each label's share of the 1600, weighted 1, 1/2, 1/3; 7800 rows do not score."""
    folder = SHARED / "fsdkaggle2018_meta"
    truth = pd.read_csv(folder / "test_post_competition_scoring_clips.csv")
    shares = truth["label"].value_counts(normalize=True)
    expected = shares["Laughter"] + shares["Hi-hat"] / 2 + shares["Flute"] / 3
    for name in ("test_post_competition.csv", "test_post_competition_scoring_clips.csv"):
        done = command(folder / "kaggle_sample_submission.csv", folder / name)
        assert done.returncode == 0
        lines = [line.split() for line in done.stdout.splitlines()]
        assert lines[0] == ["note:", "Hi-Hat", "is", "taken", "for", "Hi-hat"]
        assert [(line[0], line[-1]) for line in lines[2:]] == [("all", "1600"), ("Public", "301"), ("Private", "1299")]
        assert float(lines[2][1]) == pytest.approx(expected, abs=1e-6)


def test_command_with_wrong_arguments_says_so_without_a_traceback(tmp_path: Path) -> None:
    for arguments, words in (([], "usage"), ([tmp_path / "none.csv"] * 2, "none.csv")):
        done = command(*arguments)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
