"""Test-time augmentation: how many passes, over which spans, combined how."""

from pathlib import Path
from typing import Any

import numpy as np

from conftest import make_examples
from fsat import presets
from fsat.inputs import batches
from fsat.inputs.examples import make_clips
from fsat.inputs.passes import Passes, mean_outputs

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


def mean_mel(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Predictor whose output depends on what is seen: means of bands in (0, 1)."""
    return 1 / (1 + np.exp(-inputs["mel"].mean(axis=2)[..., 0]))


def test_the_full_preset_makes_300_passes_per_clip() -> None:
    p, counting = presets.read("fsdkaggle2018", PRESETS), Counting()
    clips = make_examples([20, 40, 60], ["a", "b", "a"])
    passes = Passes(batches.fixed_lengths((20, 50), p.tta.lengths, step=p.crop.step), p.tta.tries)
    for fold in p.folds.ids:
        mean_outputs({"stage2": counting}, clips, passes, n_labels=2, batch_size=2, key=(0, fold), name="")
    assert counting.clips == 300 * len(clips)
    assert sorted(set(counting.lengths)) == [20, 26, 32, 38, 44, 50]


def test_passes_are_combined_as_the_mean_of_logarithms() -> None:
    clips = make_examples([20, 40], ["a", "b"])
    means = mean_outputs({"x": Counting()}, clips, Passes([20, 21], 3), n_labels=2, batch_size=8, key=(1,), name="")
    expected = (np.log([0.4, 0.6]) + np.log([0.9, 0.1])) / 2
    np.testing.assert_allclose(means["x"].log_probabilities, np.tile(expected, (2, 1)), rtol=1e-6)
    assert means["x"].embeddings.shape == (2, 0)


def test_embeddings_are_the_mean_of_the_passes_whatever_the_batch_size() -> None:
    clips, passes = make_examples([9, 30, 14], list("aba")), Passes([10, 16], 2)
    options: dict[str, Any] = {"n_labels": 2, "key": (1, "a"), "name": ""}
    seen = [next(batches.crop_pass(clips, n_frames, 3, (1, "a", n_frames, number))) for n_frames, number in passes]
    for batch_size in (2, 3):
        found = mean_outputs({"x": mean_mel}, clips, passes, batch_size=batch_size, **options)["x"]
        np.testing.assert_allclose(found.embeddings, np.mean([mean_mel(inputs)[:, 2:] for inputs in seen], axis=0))


def test_no_test_clips_no_predictions() -> None:
    empty = make_clips(make_examples([9], ["a"]).store, [])
    means = mean_outputs({"x": mean_mel}, empty, Passes([10], 1), n_labels=3, batch_size=2, key=(1,), name="")
    assert means["x"].log_probabilities.shape == (0, 3)
