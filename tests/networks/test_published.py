"""The published network with its own head: its ONNX file gives what it gives."""

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoint_tensors import tensors_of

from fsat import presets
from fsat.networks import efficientat, published

ROOT = Path(__file__).parents[2]


def test_the_front_end_is_that_of_the_preset() -> None:
    assert presets.read("audioset", ROOT / "presets").mel == published.FRONT_END


@pytest.fixture
def tensors(shallow: None) -> dict[str, np.ndarray]:
    """Of a small network whose batch normalisations have the averages of noise, so that outputs are spread."""
    keras.utils.set_random_seed(3)
    network = efficientat.build_tagger(0.4, 128)
    for layer in network.get_layer("trunk").layers:
        layer.momentum = 0.0
    network(np.random.default_rng(1).normal(size=(8, 128, 64, 1)).astype(np.float32), training=True)
    return tensors_of(network)


def test_the_onnx_file_gives_independent_probabilities_and_the_same_bytes_again(
    tensors: dict[str, np.ndarray],
) -> None:
    first, second = (published.convert(tensors, width=0.4) for _ in range(2))
    assert first == second
    content, parameters, n_embedding = first
    proto = onnx.load_from_string(content)
    assert {tensor.data_type for tensor in proto.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    session = onnxruntime.InferenceSession(content)
    plain = efficientat.build_tagger(0.4, 128)
    efficientat.fill(plain, tensors, width=0.4)
    assert (parameters, n_embedding) == (plain.count_params(), 384)
    rng = np.random.default_rng(0)
    for n_clips, n_frames in ((1, 32), (3, 150)):
        mel = rng.normal(size=(n_clips, 128, n_frames, 1)).astype(np.float32)
        probabilities, embedding = session.run(["probabilities", "embedding"], {"mel": mel})
        found = plain(mel, training=False)
        expected = 1 / (1 + np.exp(-np.asarray(found["logits"], np.float64)))
        assert probabilities.shape == (n_clips, 527) and np.ptp(expected) > 0.05
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(embedding, found["embedding"], rtol=0, atol=1e-4)
