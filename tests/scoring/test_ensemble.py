"""The geometric mean, the three best labels, and the table of all folds."""

from pathlib import Path

import numpy as np
import pandas as pd

from fsat.inputs.passes import log_probabilities
from fsat.scoring import ensemble


def test_the_mean_is_geometric_and_not_arithmetic() -> None:
    a, b = np.array([[0.8, 0.1, 0.1]]), np.array([[0.2, 0.7, 0.1]])
    mean = ensemble.geometric_mean([np.log(a), np.log(b)])
    expected = np.sqrt(a * b)
    np.testing.assert_allclose(mean, expected / expected.sum(), rtol=1e-12)
    assert np.abs(mean - (a + b) / 2).max() > 0.01


def test_the_mean_of_nothing_certain_stays_finite() -> None:
    logs = log_probabilities(np.array([[1.0, 0.0]], dtype=np.float32))
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(ensemble.geometric_mean([logs] * 300), [[1, 1e-7]], atol=1e-7)


def test_an_empty_test_set_gives_an_empty_table() -> None:
    assert ensemble.geometric_mean([np.zeros((0, 3))]).shape == (0, 3)
    assert ensemble.submission([], np.zeros((0, 3)), ["a", "b", "c"]).columns.tolist() == ["fname", "label"]


def test_equal_probabilities_keep_the_order_of_the_labels() -> None:
    labels = ["Applause", "Bark", "Bus", "Cello"]
    assert ensemble.top_labels(np.array([[0.25, 0.25, 0.25, 0.25]]), labels) == [["Applause", "Bark", "Bus"]]
    assert ensemble.top_labels(np.array([[0.1, 0.1, 0.5, 0.3]]), labels) == [["Bus", "Cello", "Applause"]]


def fold_table(fold: int, heldout: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(fold)
    rows = [
        {"stage": stage, "split": split, "fname": fname, "a": np.log(p), "b": np.log(1 - p)}
        for stage in ("stage1", "stage2")
        for split, fnames in (("test", ["t0.wav", "t1.wav"]), ("heldout", heldout))
        for fname in fnames
        for p in [rng.uniform(0.1, 0.9)]
    ]
    return pd.DataFrame(rows)


def test_folds_are_combined_over_test_clips_and_kept_apart_over_held_out_ones() -> None:
    tables = {0: fold_table(0, ["x.wav"]), 3: fold_table(3, ["y.wav", "z.wav"])}
    combined = ensemble.combine(tables)
    assert combined.columns.tolist() == ["stage", "split", "fold", "fname", "a", "b"]
    assert combined.groupby(["stage", "split", "fold"]).size().to_dict() == {
        (stage, *rest): count
        for stage in ("stage1", "stage2")
        for rest, count in ((("heldout", 0), 1), (("heldout", 3), 2), (("test", -1), 2))
    }
    np.testing.assert_allclose(combined[["a", "b"]].sum(axis=1), 1)
    logs = [
        table[(table["stage"] == "stage2") & (table["fname"] == "t1.wav")][["a", "b"]].to_numpy()
        for table in tables.values()
    ]
    row = combined[(combined["stage"] == "stage2") & (combined["fname"] == "t1.wav")]
    np.testing.assert_allclose(row[["a", "b"]], ensemble.geometric_mean(logs))


def test_the_learning_curve_is_the_mean_of_the_folds_that_reached_an_epoch() -> None:
    def history(losses: list[float]) -> pd.DataFrame:
        return pd.DataFrame(
            {"stage": "stage1", "epoch": range(1, len(losses) + 1), "loss": losses, "val_loss": losses, "val_map3": 0.5}
        )

    curve = ensemble.learning_curve({0: history([3.0, 2.0, 1.0]), 1: history([1.0, 1.0])}, "stage1")
    assert curve["loss"].tolist() == [2.0, 1.5, 1.0]
    assert curve["val_loss_max"].tolist() == [3.0, 2.0, 1.0]


def test_only_folders_of_other_folds_are_set_aside_and_none_is_lost(tmp_path: Path) -> None:
    models, aside = tmp_path / "models", tmp_path / "state" / "models"

    def train(fold: int, weights: str) -> None:
        (models / f"fold{fold}").mkdir(parents=True)
        (models / f"fold{fold}" / "weights").write_text(weights, encoding="utf-8")

    def kept() -> dict[str, str]:
        return {path.parent.name: path.read_text(encoding="utf-8") for path in aside.glob("*/weights")}

    train(0, "mine")
    train(2, "two")
    train(10, "ten")
    (models / "keep").mkdir()
    lines = ensemble.set_aside_other_folds(models, [0], aside, stage="stage1")
    for fold, line in zip((10, 2), lines, strict=True):
        assert f"`mv {aside / f'fold{fold}'} {models / f'fold{fold}'} && dvc commit stage1@{fold}`" in line
    assert sorted(path.name for path in models.iterdir()) == ["fold0", "keep"]
    assert kept() == {"fold2": "two", "fold10": "ten"}
    for weights in ("other", "two", "third", "other"):
        train(2, weights)
        ensemble.set_aside_other_folds(models, [0], aside, stage="stage1")
    assert kept() == {"fold2": "two", "fold10": "ten", "fold2.1": "other", "fold2.2": "third"}
