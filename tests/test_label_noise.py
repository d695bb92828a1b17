"""The experiment with flipped labels: what is flipped, and that rounds find it again on clips that are easily told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts import label_noise

ROOT = Path(__file__).parents[1]


def test_flips_are_as_many_as_asked_for_and_never_of_verified_clips() -> None:
    labels = ["a", "b", "c", "d"] * 250
    changed, verified = label_noise.flipped(labels, flips=0.4, verified=0.3, rng=np.random.default_rng(0))
    wrong = np.array([one != other for one, other in zip(labels, changed, strict=True)])
    assert wrong.sum() == 400 and verified.sum() == 300 and not (wrong & verified).any()
    others = [changed[row] for row in np.flatnonzero(wrong) if labels[row] == "a"]
    assert {label: others.count(label) / len(others) for label in "bcd"} == pytest.approx(
        dict.fromkeys("bcd", 1 / 3), abs=0.25
    )


def test_rounds_find_the_flips_and_score_right_labels_only() -> None:
    """Eight labels: with few labels and much noise a wrong label keeps too much probability to be doubted."""
    rng = np.random.default_rng(1)
    n, n_labels = 480, 8
    number = np.arange(n) % n_labels
    values = 4 * np.eye(n_labels)[number] + rng.normal(0, 1, (n, n_labels))
    embeddings = pd.DataFrame(values, columns=[f"e{column}" for column in range(n_labels)])
    embeddings.insert(0, "fname", [f"{clip}.wav" for clip in range(n)])
    index = pd.DataFrame({"fname": embeddings["fname"], "label": np.array(list("abcdefgh"))[number]})
    index = index.assign(split="train", usage="", verified=np.nan, fold=np.arange(n) // n_labels % 3)
    results = label_noise.run(index, embeddings, seeds=[0, 1], rest="drop")
    assert {name: sum(map(len, result.ap3)) for name, result in results.items()} == dict.fromkeys(
        label_noise.CONDITIONS, 320
    )
    second = results["flipped, 2 rounds"]
    assert second.n_flips == 256 and second.n_found_flips >= 0.9 * second.n_flips
    assert second.n_found_flips >= 0.9 * second.n_found and second.n_relabelled_right >= 0.9 * second.n_relabelled
    assert results["right labels"].n_flips == results["right labels, 1 round"].n_flips == 0
    text = label_noise.table(results)
    assert all(f"| {name} |" in text for name in label_noise.CONDITIONS)
