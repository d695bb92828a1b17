"""The geometric mean, the submission file, and the table of all folds."""

import numpy as np
import pandas as pd

from fsat.core.numeric import log_probabilities
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
    probabilities = np.array([[0.25, 0.25, 0.25, 0.25], [0.1, 0.1, 0.5, 0.3]])
    found = ensemble.submission(["x.wav", "y.wav"], probabilities, labels)
    assert found.to_numpy().tolist() == [["x.wav", "Applause Bark Bus"], ["y.wav", "Bus Cello Applause"]]


def fold_table(fold: int, heldout: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(fold)
    rows = [
        {"model": model, "split": split, "fname": fname, "a": np.log(p), "b": np.log(1 - p)}
        for model in ("stage1", "stage2")
        for split, fnames in (("test", ["t0.wav", "t1.wav"]), ("heldout", heldout))
        for fname in fnames
        for p in [rng.uniform(0.1, 0.9)]
    ]
    return pd.DataFrame(rows)


def test_folds_are_combined_over_test_clips_and_kept_apart_over_held_out_ones() -> None:
    tables = {0: fold_table(0, ["x.wav"]), 3: fold_table(3, ["y.wav", "z.wav"])}
    combined = ensemble.combine(tables)
    assert combined.columns.tolist() == ["model", "split", "fold", "fname", "a", "b"]
    assert combined.groupby(["model", "split", "fold"]).size().to_dict() == {
        (stage, *rest): count
        for stage in ("stage1", "stage2")
        for rest, count in ((("heldout", 0), 1), (("heldout", 3), 2), (("test", -1), 2))
    }
    np.testing.assert_allclose(combined[["a", "b"]].sum(axis=1), 1)
    logs = [
        table[(table["model"] == "stage2") & (table["fname"] == "t1.wav")][["a", "b"]].to_numpy()
        for table in tables.values()
    ]
    row = combined[(combined["model"] == "stage2") & (combined["fname"] == "t1.wav")]
    np.testing.assert_allclose(row[["a", "b"]], ensemble.geometric_mean(logs))


def test_a_network_that_was_not_trained_has_no_rows() -> None:
    tables = {0: fold_table(0, ["x.wav"]), 3: fold_table(3, ["y.wav"])}
    first = ensemble.combine({fold: table[table["model"] == "stage1"] for fold, table in tables.items()})
    whole = ensemble.combine(tables)
    pd.testing.assert_frame_equal(first, whole[whole["model"] == "stage1"], check_exact=True)
    nothing = ensemble.combine({fold: table[:0] for fold, table in tables.items()})
    assert nothing.columns.tolist() == whole.columns.tolist() and nothing.empty


def test_the_learning_curve_is_the_mean_of_the_folds_that_reached_an_epoch() -> None:
    def history(losses: list[float]) -> pd.DataFrame:
        return pd.DataFrame(
            {"stage": "stage1", "epoch": range(1, len(losses) + 1), "loss": losses, "val_loss": losses, "val_map3": 0.5}
        )

    curve = ensemble.learning_curve({0: history([3.0, 2.0, 1.0]), 1: history([1.0, 1.0])}, "stage1")
    assert curve["loss"].tolist() == [2.0, 1.5, 1.0]
    assert curve["val_loss_max"].tolist() == [3.0, 2.0, 1.0]
