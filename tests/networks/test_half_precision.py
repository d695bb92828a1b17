"""mixed_bfloat16 in what the AudioSet recipe adds: frozen batch norms, the phase for the head, the bundle's network."""

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from conftest import make_examples
from fsat.core import params
from fsat.inputs import batches
from fsat.networks import backend, head, model, onnx_export, training

ROOT = Path(__file__).parents[2]
PRESET = params.read("model", "train", "augment", path=ROOT / "presets" / "audioset.yaml")
LABELS = ["a", "b", "c"] * 4
N_MELS, SEED = 32, 4


def warmed(network: keras.Model, mel: np.ndarray) -> None:
    """Give the trunk's frozen batch normalisations the averages of these clips: random ones make every clip alike."""
    norms = [layer for layer in network.get_layer("trunk").layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.trainable, norm.momentum = True, 0.0
    network.get_layer("trunk")(mel, training=True)
    for norm in norms:
        norm.trainable = False


@pytest.mark.slow
def test_a_training_in_half_precision_gives_a_network_of_float32(tmp_path: Path) -> None:
    clips = make_examples([40 + number for number in range(12)], LABELS, n_mels=N_MELS)
    mel = next(batches.crop_pass(clips, 40, 12, (0, "warm")))["mel"]
    frozen = PRESET.train.stage1.frozen.model_copy(update={"epochs": 20})
    plan = PRESET.train.stage1.model_copy(
        update={"frozen": frozen, "cyclic": PRESET.train.stage1.cyclic.model_copy(update={"epochs": 2})}
    )
    settings = PRESET.train.model_copy(
        update={"precision": "mixed_bfloat16", "batch_size": 4, "validation_lengths": 1, "stage1": plan}
    )
    crop = params.Crop(percentiles=(25, 75), step=1)
    recipe = training.Recipe(SEED, "stage1", 0, (40, 44), crop, 0.3, PRESET.augment, settings, plan)
    before: list[np.ndarray] = []

    def init_weights(network: keras.Model) -> None:
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        warmed(network, mel)
        before.extend(weights.copy() for weights in network.get_layer("trunk").get_weights())

    training.train_fold(
        PRESET.model,
        init_weights,
        clips,
        clips,
        recipe,
        labels=["a", "b", "c"],
        inputs=[],
        state_folder=tmp_path / "state",
        out=tmp_path / "out",
    )
    rounded = backend.predictor(model.load_network(tmp_path / "out", labels=["a", "b", "c"]))({"mel": mel})
    backend.prepare(0)
    network = model.load_network(tmp_path / "out", labels=["a", "b", "c"])
    assert {weights.dtype for weights in network.get_weights()} == {np.dtype(np.float32)}
    trunk = network.get_layer("trunk")
    is_norm = [path.split("/")[-1] in {"gamma", "beta", "moving_mean", "moving_variance"} for path in
               (weight.path for weight in trunk.weights)]  # fmt: skip
    changed = [not np.array_equal(old, new) for old, new in zip(before, trunk.get_weights(), strict=True)]
    assert not any(moved for moved, norm in zip(changed, is_norm, strict=True) if norm)
    assert all(moved for moved, norm in zip(changed, is_norm, strict=True) if not norm)

    assert onnx_export.convert(tmp_path / "out", tmp_path / "network.onnx", ["a", "b", "c"]) == 384
    proto = onnx.load(tmp_path / "network.onnx")
    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32}
    [found] = onnxruntime.InferenceSession(tmp_path / "network.onnx").run(["probabilities"], {"mel": mel})
    np.testing.assert_allclose(found, backend.predictor(network)({"mel": mel}), rtol=0, atol=1e-4)
    assert np.abs(found - rounded).max() > 1e-3  # half precision was at work, and the bundle's network has none of it


def test_the_phase_for_the_head_learns_on_features_of_half_precision() -> None:
    clips = make_examples([40] * 12, LABELS, n_mels=N_MELS)
    mel = next(batches.crop_pass(clips, 40, 12, (0, "warm")))["mel"]
    found = {}
    for precision in ("float32", "mixed_bfloat16"):
        backend.prepare(SEED, precision=precision)
        network = model.build_network(
            backbone="EfficientAT", width=0.4, batchnorm_momentum=0.9, n_mels=N_MELS, n_classes=3, head=[],
            freeze_batchnorm=True,
        )  # fmt: skip
        warmed(network, mel)
        trunk, top = head.split_at_embedding(network)
        options = {"batch_size": 4, "seed": SEED, "key": ("stage1", 0)}
        embeddings = head.features(backend.predictor(trunk), clips, [40], **options)  # type: ignore[arg-type]
        phase = params.Frozen(epochs=60, lr=0.03, weight_decay=0.0)
        ones = np.ones(12, np.float32)
        found[precision] = embeddings
        loss = head.fit(top, embeddings, clips, ones, phase, **options)  # type: ignore[arg-type]
        assert embeddings.dtype == np.float32 and loss < 0.5 < np.log(3)
    backend.prepare(0)
    full, half = found.values()
    assert not np.array_equal(full, half)
    assert np.corrcoef(full.ravel(), half.ravel())[0, 1] > 0.8
