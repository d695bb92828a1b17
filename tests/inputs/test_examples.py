"""Which clips a fold learns from, with which labels and weights, and which it is scored on."""

import numpy as np
import pandas as pd
import pytest

from conftest import make_store
from fsat.inputs import examples


@pytest.fixture
def folds() -> pd.DataFrame:
    """Eight clips of `make_store`, two folds: one relabelled and one dropped in each."""
    store = make_store([20] * 8)
    table = pd.DataFrame({"fname": store.fnames, "label": list("abababab"), "fold": [0] * 4 + [1] * 4})
    table["corrected"] = ["c", *"babac", *"ab"]
    table["weight"] = [1.0, 0.0, 1.0, 0.5, 1.0, 1.0, 0.0, 1.0]
    return table


def test_training_clips_have_corrected_labels_and_weights_and_held_out_ones_the_datasets_own(
    folds: pd.DataFrame,
) -> None:
    training, heldout, classes = examples.split_fold(make_store([20] * 8), folds, 1)
    assert classes == ["a", "b", "c"]
    assert training.fnames == folds["fname"][[0, 2, 3]].tolist()
    assert [classes[column] for column in training.targets.argmax(axis=1)] == ["c", "a", "b"]
    assert training.weights is not None and training.weights.tolist() == [1.0, 1.0, 0.5]
    assert heldout.fnames == folds["fname"][4:].tolist()
    assert [classes[column] for column in heldout.targets.argmax(axis=1)] == ["a", "b", "a", "b"]
    assert heldout.weights is None


def test_weights_that_are_all_one_are_none(folds: pd.DataFrame) -> None:
    training, _, _ = examples.split_fold(make_store([20] * 8), folds.assign(weight=1.0), 0)
    assert training.weights is None and len(training) == 4
    assert np.array_equal(training.targets.sum(axis=1), np.ones(4))
