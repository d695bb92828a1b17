"""Exported networks give in onnxruntime what they give in Keras."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import LABELS, project

from fsat import cli
from fsat.core.errors import FsatError
from fsat.networks import backend
from fsat.tagger import bundle, onnx, tagger

__all__ = ["project"]


def test_without_the_extra_it_says_what_to_install(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    opened = bundle.read(project / "data" / "bundle")
    with pytest.raises(FsatError, match=r"tf2onnx and onnx: run `pip install -e '\.\[onnx\]'`"):
        onnx.export(opened, tmp_path, stage="stage2")


@pytest.mark.slow
def test_onnx_networks_give_equal_outputs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "the extra 'onnx' is not installed: pip install -e '.[onnx]'"
    pytest.importorskip("tf2onnx", reason=reason)
    onnxruntime = pytest.importorskip("onnxruntime", reason=reason)
    out = tmp_path / "networks"
    folder = project / "data" / "bundle"
    monkeypatch.setattr("sys.argv", ["fsat", "export", "--onnx", str(out), "--model", str(folder)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    expected = [out / "stage2_fold0.onnx", out / "stage2_fold1.onnx", out / "networks.json"]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in expected]

    rng = np.random.default_rng(0)
    networks = tagger.load_networks(bundle.read(folder), "stage2", [0, 1])
    for (fold, network), path in zip(networks, expected[:2], strict=True):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert [tensor.name for tensor in session.get_inputs()] == ["mel", "pca"]
        keras_network = backend.predictor(network)
        n_components = network.get_layer("pca").output.shape[1]
        for n_clips, n_frames in ((1, 40), (3, 97), (2, 200)):  # both are free
            inputs = {
                "mel": rng.random((n_clips, 32, n_frames, 1), dtype=np.float32),
                "pca": rng.normal(size=(n_clips, n_components)).astype(np.float32),
            }
            [probabilities] = session.run(["probabilities"], inputs)
            assert probabilities.shape == (n_clips, len(LABELS))
            assert np.ptp(probabilities) > 0.1
            # float32 rounding through some sixty layers, in another order
            np.testing.assert_allclose(probabilities, keras_network(inputs), rtol=0, atol=1e-4, err_msg=f"fold {fold}")
    described = json.loads((out / "networks.json").read_text())
    assert described["labels"] == LABELS and set(described["inputs"]) == {"mel", "pca"}
