"""The networks: their size, what they accept, and what stage 2 takes over from stage 1."""

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.networks import model
from shared_data import SHARED, needs

IMAGENET = SHARED / "pretrained" / "mobilenet_v2_1.0_224_no_top.weights.h5"
# Arguments of `build_network` as summary.json holds them.
SMALL: dict[str, Any] = {"backbone": "MobileNetV2", "width": 0.35, "batchnorm_momentum": 0.9}
SMALL |= {"n_mels": 32, "n_classes": 5}


def test_the_recipes_network_has_its_number_of_parameters() -> None:
    recipe = SMALL | {"width": 1.0, "batchnorm_momentum": 0.999, "n_mels": 64, "n_classes": 41}
    network = model.build_network(**recipe, n_components=350)
    assert network.count_params() == 5_378_330
    assert network.get_layer("trunk").count_params() == 2_257_984


def test_any_length_and_both_inputs() -> None:
    network = model.build_network(**SMALL, n_components=7)
    for n_frames in (33, 80):
        output = network({"mel": np.zeros((2, 32, n_frames, 1)), "pca": np.zeros((2, 7))})
        assert tuple(output.shape) == (2, 5)
        np.testing.assert_allclose(np.asarray(output).sum(axis=1), 1, rtol=1e-5)


def test_momentum_is_an_upper_limit_for_every_batch_normalisation() -> None:
    def momenta(limit: float) -> set[float]:
        network = model.build_network(**(SMALL | {"batchnorm_momentum": limit}))
        return {layer.momentum for layer in network._flatten_layers() if hasattr(layer, "momentum")}

    assert momenta(0.999) == {0.999, 0.99}
    assert momenta(0.9) == {0.9}


def test_stage_2_takes_over_the_trunk_of_stage_1() -> None:
    keras.utils.set_random_seed(1)
    stage1 = model.build_network(**SMALL)
    keras.utils.set_random_seed(2)
    stage2 = model.build_network(**SMALL, n_components=7)
    mel = np.random.default_rng(0).normal(size=(3, 32, 40, 1)).astype(np.float32)

    def embedding(network: keras.Model) -> np.ndarray:
        part = keras.Model(network.inputs[0], network.get_layer("embedding").output)
        return np.asarray(part(mel))

    before = embedding(stage2)
    model.transfer(stage1, stage2)
    after = embedding(stage2)
    np.testing.assert_array_equal(after, embedding(stage1))
    assert np.abs(after - before).max() > 0.1 * np.abs(after).max()
    for name in ("head_dense2", "probabilities"):  # the head starts fresh
        kernels = [network.get_layer(name).get_weights()[0] for network in (stage1, stage2)]
        assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_dead_convolutions_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    keras.utils.set_random_seed(1)
    first = model.build_network(**SMALL)
    last = first.get_layer(model.CONVOLUTIONS[1]).kernel
    kernel = last.numpy()
    for value, dead in ((-np.ones(kernel.shape), True), (kernel, False)):
        last.assign(value)
        assert model._is_dead(first) == dead
    answers = iter([True, True, False])
    monkeypatch.setattr(model, "_is_dead", lambda network: next(answers))
    keras.utils.set_random_seed(1)
    again = model.build_network(**SMALL)
    assert next(answers, None) is None
    kernels = [[network.get_layer(name).kernel.numpy() for name in model.CONVOLUTIONS] for network in (first, again)]
    assert all((one != other).all() for one, other in zip(*kernels, strict=True))


def test_a_saved_network_is_its_weights_without_the_optimiser(tmp_path: Path) -> None:
    numbers = SMALL | {"n_components": 7}
    network = model.build_network(**numbers)
    network.compile("adam", "categorical_crossentropy")
    network.optimizer.build(network.trainable_variables)
    inputs = {"mel": np.random.default_rng(0).normal(size=(4, 32, 40, 1)), "pca": np.ones((4, 7))}
    model.save_network(network, tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5") as file:
        assert "optimizer" not in file
    files.write_json(tmp_path / "summary.json", {"network": numbers, "labels": list("abcde")})
    loaded = model.load_network(tmp_path, labels=list("abcde"))
    np.testing.assert_array_equal(loaded(inputs), network(inputs))


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (list("abcd"), r"fold0 was trained on 4 labels, data/folds\.csv has 3\. Run `dvc repro`"),
        (list("bac"), r"fold0 was trained on other labels than data/folds\.csv has\. Run `dvc repro`"),
        (None, "fold0 was trained on other labels"),
        ("abc", "fold0 was trained on other labels"),
    ],
)
def test_a_network_trained_on_other_labels_is_refused(trained: object, message: str, tmp_path: Path) -> None:
    files.write_json(tmp_path / "fold0" / "summary.json", {"network": SMALL, "labels": trained})
    with pytest.raises(FsatError, match=message):
        model.load_network(tmp_path / "fold0", labels=list("abc"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "MobileNetV9"}, "keras.applications has no 'MobileNetV9'"),
        ({"backbone": "ResNet50", "width": 0.5}, "has no width multiplier"),
        ({"n_mels": 31}, "at least 32 mel bands"),
        ({"backbone": "NASNetMobile", "width": 1.0}, "any length"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FsatError, match=message):
        model.build_network(**(SMALL | change))


@needs("pretrained")
def test_imagenet_weights_load_into_the_trunk_of_the_same_width_only() -> None:
    trunk = model.build_trunk("MobileNetV2")
    before = trunk.get_weights()[0].copy()
    model.load_trunk_weights(trunk, IMAGENET)
    assert np.abs(trunk.get_weights()[0] - before).max() > 1e-3
    with pytest.raises(FsatError, match=r"does not fit this backbone"):
        model.load_trunk_weights(model.build_trunk("MobileNetV2", width=0.5), IMAGENET)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match=r"nothing\.weights\.h5 does not exist"):
        model.load_trunk_weights(model.build_trunk("MobileNetV2", width=0.35), tmp_path / "nothing.weights.h5")


def test_bounds_of_a_training_are_those_of_its_summary(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"bounds": [33, 40]}', encoding="utf-8")
    assert model.trained_bounds(tmp_path) == (33, 40)
    for damaged in ("{}", "[]", '{"bounds": [1]}', '{"bounds": null}'):
        (tmp_path / "summary.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(FsatError, match="Run `dvc repro`"):
            model.trained_bounds(tmp_path)


def test_a_head_of_the_softmax_alone_starts_stage_2_as_stage_1() -> None:
    small = SMALL | {"head": []}
    stage1, stage2 = model.build_network(**small), model.build_network(**small, n_components=3)
    model.transfer(stage1, stage2)
    rng = np.random.default_rng(0)
    mel, pca = rng.random((2, 32, 40, 1), np.float32), rng.normal(size=(2, 3)).astype(np.float32)
    expected = stage1({"mel": mel}).numpy()
    np.testing.assert_allclose(stage2({"mel": mel, "pca": pca}).numpy(), expected, atol=1e-6)
