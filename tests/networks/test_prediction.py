"""Test-time augmentation: how many passes, over which spans, combined how."""

from pathlib import Path

import keras
import numpy as np
import pytest

from conftest import make_examples
from fsat import presets
from fsat.inputs import batches
from fsat.inputs.passes import Passes
from fsat.networks import backend, prediction

PRESETS = Path(__file__).parents[2] / "presets"


class Counting:
    """Predictor whose output depends on the length alone; counts the clips it was asked about."""

    def __init__(self) -> None:
        self.clips = 0
        self.lengths: list[int] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        mel = inputs["mel"]
        self.clips += len(mel)
        self.lengths.append(mel.shape[2])
        p = 0.9 if mel.shape[2] % 2 else 0.4
        return np.tile(np.array([[p, 1 - p]], dtype=np.float32), (len(mel), 1))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counter = Counting()
    monkeypatch.setattr(backend, "predictor", lambda model: counter)
    return counter


@pytest.fixture
def network() -> keras.Model:
    mel = keras.layers.Input((8, None, 1), name="mel")
    return keras.Model({"mel": mel}, keras.layers.GlobalAveragePooling2D()(mel))


def test_the_full_preset_makes_300_passes_per_clip(counting: Counting, network: keras.Model) -> None:
    p = presets.read("fsdkaggle2018", PRESETS)
    clips = make_examples([20, 40, 60], ["a", "b", "a"])
    lengths = batches.fixed_lengths((20, 50), p.tta.lengths, step=p.crop.step)
    passes = Passes(lengths, p.tta.tries)
    for fold in p.folds.ids:
        prediction.mean_outputs({"stage2": network}, clips, passes, batch_size=2, key=(p.seed, fold), name="")
    assert counting.clips == 300 * len(clips)
    assert sorted(set(counting.lengths)) == [20, 26, 32, 38, 44, 50]


def test_passes_are_combined_as_the_mean_of_logarithms(counting: Counting, network: keras.Model) -> None:
    clips = make_examples([20, 40], ["a", "b"])
    passes = Passes([20, 21], 3)
    means = prediction.mean_outputs({"x": network}, clips, passes, batch_size=8, key=(1,), name="")
    expected = (np.log([0.4, 0.6]) + np.log([0.9, 0.1])) / 2
    np.testing.assert_allclose(means["x"].log_probabilities, np.tile(expected, (2, 1)), rtol=1e-6)


def test_the_batch_size_changes_nothing_but_rounding(network: keras.Model) -> None:
    clips = make_examples([9, 30, 14, 50, 22], list("ababa"))
    passes = Passes([10, 16], 2)
    first, second = (
        prediction.mean_outputs({"x": network}, clips, passes, batch_size=size, key=(1, "a"), name="")["x"]
        for size in (2, 5)
    )
    np.testing.assert_allclose(first.log_probabilities, second.log_probabilities, rtol=1e-5)


def test_no_test_clips_no_predictions(network: keras.Model) -> None:
    nothing = make_examples([9], ["a"])
    empty = type(nothing)([], nothing.store, nothing.rows[:0], None, nothing.targets[:0])
    passes = Passes([10], 1)
    means = prediction.mean_outputs({"x": network}, empty, passes, batch_size=2, key=(1,), name="")
    assert means["x"].log_probabilities.shape == (0, 1)


def test_embeddings_are_the_mean_of_the_layer_and_change_no_prediction() -> None:
    mel = keras.layers.Input((8, None, 1), name="mel")
    pooled = keras.layers.GlobalAveragePooling2D(name="embedding")(keras.layers.Conv2D(4, 1)(mel))
    network = keras.Model({"mel": mel}, keras.layers.Dense(2, activation="softmax")(pooled))
    clips = make_examples([9, 30, 14], list("aba"))
    passes = Passes([10, 16], 2)
    without, found = (
        prediction.mean_outputs(
            {"x": network}, clips, passes, batch_size=2, key=(1, "a"), name="", embeddings=embeddings
        )["x"]
        for embeddings in (False, True)
    )
    assert without.embeddings.shape == (3, 0) and found.embeddings.shape == (3, 4)
    assert np.array_equal(without.log_probabilities, found.log_probabilities)
    ask = prediction.predictor(keras.Model(network.inputs, pooled))
    total = np.zeros((3, 4))
    for n_frames, number in passes:
        batch = next(batches.crop_pass(clips, n_frames, 3, (1, "a", n_frames, number)))
        total += ask(batch.inputs)
    np.testing.assert_allclose(found.embeddings, total / 4, rtol=1e-5)
