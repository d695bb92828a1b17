"""None of these: distances by hand, what is kept to compare with, thresholds."""

import numpy as np
import pandas as pd
import pytest

from fsat.scoring import unknown


def clusters(n: int, centres: list[int], *, seed: int = 0, width: int = 20, spread: float = 0.2) -> np.ndarray:
    """`n` vectors around each of some unit vectors."""
    rng = np.random.default_rng(seed)
    return np.concatenate([np.eye(width)[centre] + rng.normal(0, spread, (n, width)) for centre in centres])


def test_neither_the_length_of_an_embedding_nor_blocks_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, known = clusters(10, [0, 1]), clusters(5, [0, 1], seed=3)
    whole = unknown.score(x, known, neighbours=3)
    assert unknown.score(7 * x, 3 * known, neighbours=3) == pytest.approx(whole)
    monkeypatch.setattr(unknown, "_BLOCK", 3)
    assert unknown.score(x, known, neighbours=3) == pytest.approx(whole, abs=1e-12)


def test_the_score_is_the_mean_over_the_nearest() -> None:
    """Silence and no clips have scores too."""
    known = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    x = np.array([[1.0, 0.0]])
    assert [unknown.score(x, known, neighbours=k)[0] for k in (1, 2, 3, 9)] == pytest.approx([0, 0.5, 1, 1])
    assert unknown.score(0 * x, known, neighbours=1).tolist() == [1.0]
    assert unknown.score(x[:0], known, neighbours=1).shape == (0,)


def test_all_embeddings_are_kept_where_they_are_few() -> None:
    x = clusters(3, [0, 1])
    kept = unknown.reference(x, list("aaabbb"), limit=6)
    assert kept.dtype == np.float16
    assert kept == pytest.approx(x / np.linalg.norm(x, axis=1, keepdims=True), abs=1e-3)


def test_of_many_the_kept_ones_cover_the_rest() -> None:
    """Two far groups in one label: both are found although one is tiny; and each label gets its share."""
    x = np.concatenate([clusters(50, [0], spread=0.02), clusters(2, [5], spread=0.02), clusters(40, [9], spread=0.02)])
    kept = unknown.reference(x, ["a"] * 52 + ["b"] * 40, limit=8)
    assert len(kept) == 8
    assert (kept.argmax(axis=1) == 9).sum() == 4 and {0, 5, 9} == set(kept.argmax(axis=1))
    assert unknown.score(x, kept, neighbours=1).max() < 0.05
    assert len(unknown.reference(x, ["a"] * 52 + ["b"] * 40, limit=1)) == 2


def test_the_threshold_keeps_the_share() -> None:
    scores = np.random.default_rng(0).uniform(0, 1, 997)
    for keep in (0.5, 0.95, 1.0):
        found = unknown.threshold(scores, keep)
        assert (scores <= found).mean() >= keep > (scores <= found - 2e-3).mean()


def test_the_share_kept_is_that_of_the_other_folds_threshold() -> None:
    scores = np.concatenate([np.full(50, 0.1), np.full(50, 0.5)])
    folds = np.repeat([0, 1], 50)
    assert unknown.kept_out_of_fold(scores, folds, 0.95) == 0.5  # all of fold 1 is above what fold 0 knows
    assert unknown.kept_out_of_fold(np.full(10, 0.2), np.zeros(10, dtype=int), 0.95) == 1.0
    assert unknown.kept_out_of_fold(np.array([0.4]), np.array([3]), 0.95) == 1.0


def tables() -> dict[int, pd.DataFrame]:
    rows = {
        fold: [("stage2", "heldout", f"h{fold}{n}.wav", 0.1 * n) for n in range(4)]
        + [("stage2", "test", name, value + fold) for name, value in (("b.wav", 0.1), ("a.wav", 0.3))]
        for fold in (0, 2)
    }
    return {fold: pd.DataFrame(table, columns=["model", "split", "fname", "score"]) for fold, table in rows.items()}


def test_test_clips_get_the_mean_of_all_folds_and_held_out_ones_that_of_their_own() -> None:
    found = unknown.combine(tables())
    test = found[found["split"] == "test"]
    assert test["fname"].tolist() == ["a.wav", "b.wav"] and (test["fold"] == -1).all()
    assert test["score"].tolist() == pytest.approx([1.3, 1.1])
    heldout = found[found["split"] == "heldout"]
    assert heldout["fold"].tolist() == [0] * 4 + [2] * 4
    summary = unknown.summary(found, keep=0.75)
    assert summary["threshold"] == {"stage2": pytest.approx(0.2)}
    assert summary["kept"] == {"cv": {"stage2": 0.75}, "test": {"stage2": 0.0}}


def test_without_test_clips_there_is_no_test_part() -> None:
    heldout = {fold: table[table["split"] == "heldout"] for fold, table in tables().items()}
    assert list(unknown.summary(unknown.combine(heldout), keep=0.9)["kept"]) == ["cv"]


def test_without_networks_a_clip_is_compared_with_those_of_other_folds_by_a_view_of_the_frozen_trunk() -> None:
    """By its cosine distance, whatever the columns' scales; a clip that nothing is learned from is no reference."""
    vectors = {"a": (1, 0), "b": (3, 0), "c": (0, 2), "d": (1, 1), "left out": (5, 5)}
    views = {
        "train": pd.DataFrame([(name, 9.0, *xy) for name, xy in vectors.items()]),
        "test": pd.DataFrame([("t", 9.0, 0.0, 7.0)]),
    }
    views = {split: table.set_axis(["fname", "pooled.0", "last.0", "last.1"], axis=1) for split, table in views.items()}
    folds = pd.DataFrame({"fname": list(vectors), "corrected": ["x", "x", "y", "y", "y"], "fold": [0, 1, 0, 1, 2]})
    folds["weight"] = [1.0, 1.0, 1.0, 1.0, 0.0]
    found = unknown.of_view(views, folds, [0, 1])
    assert found[["model", "split", "fold", "fname"]].to_numpy().tolist() == [
        ["last", "heldout", 0, "a"], ["last", "heldout", 1, "b"], ["last", "heldout", 0, "c"],
        ["last", "heldout", 1, "d"], ["last", "test", -1, "t"],
    ]  # fmt: skip
    corner = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(found["score"], [0, 0, corner, corner, 0], atol=1e-3)  # references are float16
    assert list(unknown.summary(found, keep=0.9)["threshold"]) == ["last"]
    nothing = unknown.of_view({split: table[["fname"]] for split, table in views.items()}, folds, [0])
    assert unknown.summary(nothing, keep=0.9) == {"threshold": {}, "kept": {}}
