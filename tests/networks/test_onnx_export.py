"""A converted network gives in ONNX Runtime what it gives in Keras, and two conversions give the same bytes."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tiny_bundle import LABELS, ROOT, project

from fsat.core.errors import FsatError
from fsat.networks import backend, model, onnx_export, onnx_weights

__all__ = ["project"]


def test_on_another_backend_it_says_what_to_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(FsatError, match="needs Keras on TensorFlow, not jax: unset KERAS_BACKEND"):
        onnx_export.convert({tmp_path: tmp_path / "network.onnx"}, LABELS)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_onnx_networks_give_equal_outputs(stage: str, project: Path) -> None:
    import onnxruntime

    network = model.load_network(project / "data" / "models" / stage / "fold1", labels=LABELS)
    session = onnxruntime.InferenceSession(str(project / "data" / "bundle" / stage / "fold1.onnx"))
    both = keras.Model(network.inputs, [network.output, network.get_layer("embedding").output])
    rng = np.random.default_rng(0)
    for n_clips, n_frames in ((1, 40), (3, 97), (2, 200)):  # both are free
        inputs = {"mel": rng.random((n_clips, 32, n_frames, 1), dtype=np.float32)}
        if stage == "stage2":
            n_components = network.get_layer("pca").output.shape[1]
            inputs["pca"] = rng.normal(size=(n_clips, n_components)).astype(np.float32)
        probabilities, embedding = session.run(["probabilities", "embedding"], inputs)
        assert probabilities.shape == (n_clips, len(LABELS)) and embedding.shape == (n_clips, 1280)
        assert np.ptp(probabilities) > 0.1
        expected = [np.asarray(output) for output in both(inputs, training=False)]
        # float32 rounding through some sixty layers, in another order
        np.testing.assert_allclose(probabilities, expected[0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(embedding, expected[1], rtol=0, atol=1e-4 * np.abs(expected[1]).max())
        np.testing.assert_allclose(probabilities, backend.predictor(network)(inputs), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_conversion_in_another_process_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
    """The converter numbers its nodes by counters of the process and orders them by hashes.

    The bundle's network of fold 1 is that of fold 0 with other weights.
    """
    folder, out = project / "data" / "models" / "stage2" / "fold1", tmp_path / "network.onnx"
    code = (
        "from pathlib import Path; from fsat.networks import onnx_export; "
        f"onnx_export.convert({{Path({str(folder)!r}): Path({str(out)!r})}}, {LABELS})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert out.read_bytes() == (project / "data" / "bundle" / "stage2" / "fold1.onnx").read_bytes()


def test_a_graph_takes_the_weights_of_another_network_or_it_is_said_that_it_cannot(shallow: None) -> None:
    rng = np.random.default_rng(0)

    def build() -> keras.Model:
        shape: dict[str, Any] = {"n_mels": 32, "n_classes": 3, "n_components": 4, "head": [6, 6]}
        network = model.build_network(backbone="EfficientAT", width=0.4, batchnorm_momentum=0.9, **shape)
        network.set_weights([rng.uniform(0.1, 1, value.shape).astype(np.float32) for value in network.get_weights()])
        return network

    convert = partial(onnx_export.to_onnx, outputs=("probabilities", "embedding"), labels=LABELS)
    first, second = build(), build()
    made = convert(first)
    assert list(onnx_weights.refill(made, first, iter([second, first]))) == [convert(second), made]
    assert list(onnx_weights.refill(made, second, iter([first]))) == [None]  # none of its weights is in the graph
    # One array of the graph is now that of two layers, which differ in the other network.
    first.get_layer("head_norm2").set_weights(first.get_layer("head_norm1").get_weights())
    assert list(onnx_weights.refill(convert(first), first, iter([second]))) == [None]
