"""Which labels held-out predictions confirm, contradict or leave open; how much noise a class has."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fsat.scoring import verification

CLASSES = ["Bark", "Cello", "Gong"]


def run(rows: list[tuple[str, str, float | None, list[float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and index of clips given as (fname, label, verified, probabilities)."""
    fnames, labels, verified, values = (list(column) for column in zip(*rows, strict=True))
    keys = pd.DataFrame({"model": "submission", "split": "heldout", "fold": 0, "fname": fnames})
    predictions = pd.concat([keys, pd.DataFrame(values, columns=CLASSES)], axis=1)
    index = pd.DataFrame({"fname": fnames, "label": labels, "verified": verified}).assign(split="train", usage="")
    return predictions, index


def verified_clips() -> list[Any]:
    """Five verified clips a label, whose mean probability is 0.8 (Bark), 0.6 (Cello) and 0.4 (Gong)."""
    rows: list[Any] = []
    for column, (label, mean) in enumerate(zip(CLASSES, (0.8, 0.6, 0.4), strict=True)):
        for number in range(5):
            p = np.full(3, (1 - mean - 0.05 * (number - 2)) / 2)
            p[column] = mean + 0.05 * (number - 2)
            rows.append((f"{label}{number}", label, 1.0, p.tolist()))
    return rows


def decided(*rows: Any, rest: str = "drop", **options: Any) -> dict[str, str]:
    evidence = verification.gather(*run([*verified_clips(), *rows]), **options)
    table = verification.propose(evidence, rest).set_index("fname")
    return {fname: f"{row['action']} {row['other']}" for fname, row in table.iterrows()}  # type: ignore[misc]


def test_thresholds_are_the_means_over_verified_clips() -> None:
    wrong = [(f"x{number}", "Bark", 0.0, [0.0, 1.0, 0.0]) for number in range(9)]
    evidence = verification.gather(*run([*verified_clips(), *wrong]))
    assert evidence.thresholds == pytest.approx([0.8, 0.6, 0.4])
    few = [row for row in verified_clips() if row[0] not in ("Bark3", "Bark4")]
    evidence = verification.gather(*run([*few, *wrong]))
    assert evidence.thresholds[0] == pytest.approx((0.7 + 0.75 + 0.8) / 12)
    without = [row for row in verified_clips() if row[1] != "Gong"]
    assert np.isnan(verification.gather(*run(without)).thresholds[2])


def test_each_clip_is_decided_by_its_share_of_the_threshold() -> None:
    for label, p, expected in (
        ("Bark", [0.80, 0.15, 0.05], "verify"),
        ("Bark", [0.79, 0.16, 0.05], "keep"),
        ("Gong", [0.30, 0.28, 0.42], "verify"),  # the same probability would not do for Bark
        ("Bark", [0.25, 0.70, 0.05], "keep"),  # 0.31 of the threshold
        ("Bark", [0.23, 0.62, 0.15], "relabel Cello"),
        ("Bark", [0.23, 0.36, 0.41], "relabel Gong"),  # 1.03 of the threshold, against 0.6 for Cello
        ("Bark", [0.23, 0.40, 0.37], "drop"),
        ("Cello", [0.81, 0.17, 0.02], "relabel Bark"),
    ):
        assert decided(("x", label, 0.0, p))["x"].startswith(expected)
    assert decided(("x", "Bark", 0.0, [0.23, 0.40, 0.37]), rest="keep")["x"].startswith("keep")


def test_only_clips_nobody_decided_about_are_proposed() -> None:
    """Verified ones are not, nor those with a correction of somebody's own; unknown flags are."""
    wrong = [0.0, 0.9, 0.1]
    rows = [("a", "Bark", 1.0, wrong), ("b", "Bark", 0.0, wrong), ("c", "Bark", None, wrong), ("d", "Bark", 0.0, wrong)]
    assert set(decided(*rows, known={"d": None})) == {"b", "c"}
    # A decision moves the threshold of the label it names.
    evidence = verification.gather(*run([*verified_clips(), *rows]), known={"d": "Cello"})
    assert evidence.thresholds[1] == pytest.approx((5 * 0.6 + 0.9) / 6)


def test_a_table_per_class_counts_every_clip_in_any_order() -> None:
    rows = [
        *verified_clips(),
        ("x", "Bark", 0.0, [0.9, 0.1, 0.0]),
        ("y", "Bark", 0.0, [0.0, 0.9, 0.1]),
        ("z", "Gong", 0.0, [0.4, 0.4, 0.2]),
    ]
    first, other = (
        verification.propose(verification.gather(*run(given)), "drop") for given in (rows, list(reversed(rows)))
    )
    pd.testing.assert_frame_equal(first, other)
    table = verification.per_class(first)
    assert table.columns.tolist() == ["label", "clips", "verify", "relabel", "drop", "keep"]
    assert table.to_numpy().tolist() == [["Bark", 2, 1, 1, 0, 0], ["Gong", 1, 0, 0, 0, 1]]


def test_noise_is_the_off_diagonal_share_of_the_confident_joint() -> None:
    """By hand: counted are clips at or above a threshold, as the label of the highest probability among those."""
    rows = [
        ("a", "Bark", 0.0, [0.85, 0.1, 0.05]),  # Bark
        ("b", "Bark", 0.0, [0.1, 0.7, 0.2]),  # Cello
        ("c", "Bark", 0.0, [0.0, 0.5, 0.5]),  # Gong: Cello is below its threshold
        ("d", "Bark", 0.0, [0.5, 0.3, 0.2]),  # none
        ("e", "Cello", 0.0, [0.2, 0.65, 0.15]),  # Cello
    ]
    table = verification.noise(verification.gather(*run([*verified_clips(), *rows]))).set_index("label")
    found = table.loc["Bark", ["verified", "unverified", "counted", "wrong", "mostly"]]
    assert list(found) == [5, 4, 3, 2, "Cello"]
    assert table["noise"].isna().tolist() == [False, False, True]
    assert table.loc["Bark", "noise"] == pytest.approx(2 / 3, abs=1e-6) and table.loc["Cello", "noise"] == 0


def test_scores_of_verified_and_unverified_clips_apart() -> None:
    rows = [
        ("v", "Bark", 1.0, [0.5, 0.3, 0.2]),
        ("w", "Gong", 1.0, [0.5, 0.3, 0.2]),
        ("x", "Bark", 0.0, [0.3, 0.5, 0.2]),
        ("y", "Cello", None, [0.3, 0.5, 0.2]),
    ]
    predictions, index = run(rows)
    found = verification.scores(predictions, index, verification.noise(verification.gather(predictions, index)))
    assert found["verified"] == {"map3": pytest.approx((1 + 1 / 3) / 2), "n": 2}
    assert found["unverified"] == {"map3": 0.75, "n": 2}
    assert 0 <= found["noise"] <= 1
    predictions, index = run([row for row in rows if row[2] == 1])
    noise = verification.noise(verification.gather(predictions, index))
    assert set(verification.scores(predictions, index, noise)) == {"verified"}
