"""The benchmark of "none of these": which clips a draw leaves out, and that its scores are those it says."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import unknown

LABELS = [f"label{number}" for number in range(10)]


def clips(per_label: int, **columns: str | np.ndarray) -> pd.DataFrame:
    names = [f"{label}{number}.wav" for label in LABELS for number in range(per_label)]
    return pd.DataFrame({"fname": names, "label": np.repeat(LABELS, per_label)}).assign(**columns)


def test_a_draw_leaves_three_labels_out_and_holds_a_fold_of_the_others() -> None:
    drawn = [unknown.draw(clips(8), seed, 4) for seed in (0, 1)]
    for table in drawn:
        assert table.loc[table["part"] == "unknown", "label"].nunique() == 3
        assert not set(table.loc[table["part"] == "unknown", "label"]) & set(
            table.loc[table["part"] != "unknown", "label"]
        )
        counts = table.groupby("label")["part"].value_counts()
        assert (counts.xs("known", level="part") == 2).all() and (counts.xs("learn", level="part") == 6).all()
    assert not drawn[0]["part"].equals(drawn[1]["part"])
    assert drawn[0].equals(unknown.draw(clips(8), 0, 4))


def test_a_dataset_with_folds_of_its_own_holds_the_one_of_the_draws_number() -> None:
    table = clips(10, fold=np.arange(100) % 5)
    for seed in (0, 3):
        drawn = unknown.draw(table, seed, 4)
        assert (drawn.loc[drawn["part"] == "known", "fold"] == seed).all()
        assert (drawn.loc[drawn["part"] == "learn", "fold"] != seed).all()


def test_scores_see_an_embedding_that_no_label_has() -> None:
    """Two known labels and an unknown one that the network takes for the first, as sure as of that itself."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 40)
    part = np.where(labels == "c", "unknown", np.where(np.arange(120) % 4 == 0, "known", "learn"))
    centres = np.eye(16)[np.searchsorted(["a", "b", "c"], labels)]
    embedding = centres + rng.normal(0, 0.05, (6, 120, 16))
    p = np.where((labels == "b")[:, None], [0.1, 0.9], [0.9, 0.1]) * np.ones((6, 1, 1))
    outputs = np.concatenate([p, embedding], axis=2).astype(np.float32)
    asked = part != "learn"
    areas = {
        name: roc_auc_score(part[asked] == "unknown", values[asked])
        for name, values in unknown.scores(outputs, labels, part).items()
    }
    assert areas["maximum probability"] == pytest.approx(0.5, abs=0.01)
    assert areas["**cosine distance to the nearest clip**"] == 1.0
    assert areas["Mahalanobis distance to the nearest class"] == 1.0
