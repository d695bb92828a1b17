"""A converted network gives in ONNX Runtime what it gives in Keras, and two conversions give the same bytes."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_bundle import LABELS, ROOT, project

from fsat.core.errors import FsatError
from fsat.networks import backend, model, onnx_export

OUTPUTS = ("probabilities", "embedding")


__all__ = ["project"]


def test_on_another_backend_it_says_what_to_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(FsatError, match="needs Keras on TensorFlow, not jax: unset KERAS_BACKEND"):
        onnx_export.convert(tmp_path, tmp_path / "network.onnx", LABELS)


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
    """The converter numbers its nodes by counters of the process and orders them by hashes."""
    folder, out = project / "data" / "models" / "stage2" / "fold0", tmp_path / "network.onnx"
    code = f"from fsat.networks import onnx_export; onnx_export.convert({str(folder)!r}, {str(out)!r}, {LABELS})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert out.read_bytes() == (project / "data" / "bundle" / "stage2" / "fold0.onnx").read_bytes()


def test_canonical_models_do_not_depend_on_names_and_order() -> None:
    import onnx
    from onnx import TensorProto, helper

    def build(a: str, b: str, *, turned: bool) -> bytes:
        weights = helper.make_tensor(f"w{a}", TensorProto.FLOAT, [1], [2.0])
        nodes = [
            helper.make_node("Mul", ["mel", f"w{a}"], [a], name=f"{a}x"),
            helper.make_node("Abs", ["mel"], [b], name=f"{b}y"),
            helper.make_node("Exp", ["mel"], ["unused"]),
            helper.make_node("Add", [a, b], ["first"]),
            helper.make_node("Relu", [b], ["second"]),
        ]
        if turned:
            nodes[0], nodes[1] = nodes[1], nodes[0]
        mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["n", 2, "m", 1])
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("first", "second")]
        graph = helper.make_graph(nodes, f"graph {a}", [mel], outputs, [weights])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx_export.OPSET)])
        return onnx_export.canonical(made, OUTPUTS).SerializeToString(deterministic=True)

    first = build("a", "b", turned=False)
    assert first == build("zz", "c", turned=True)
    found = onnx.load_from_string(first)
    assert [node.op_type for node in found.graph.node] == ["Mul", "Abs", "Add", "Relu"]
    assert [tensor.name for tensor in found.graph.output] == ["probabilities", "embedding"]
