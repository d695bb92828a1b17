"""A bundle's networks in ONNX Runtime: opened from bytes with the right checksum; inputs and outputs are checked."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

# Official builds of ONNX Runtime report their use to Microsoft unless this is set before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from fsat.core.errors import FsatError
from fsat.inputs.passes import Predictor
from fsat.scoring.names import Stage
from fsat.tagger.bundle import TRUNK, Bundle, network_name

# What ONNX Runtime raises for a file that is damaged or asks for what it does not have, and for a network that fails.
_REFUSED = (
    *(errors.EPFail, errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf),
    *(errors.NoSuchFile, errors.NotFound, errors.NotImplemented, errors.RuntimeException),
    *(MemoryError, RuntimeError, ValueError),
)
_ROUNDING = 1e-3  # by which a softmax may pass 1
Shapes = dict[str, list[int | None]]  # of tensors, by name; a free dimension is None


def open_network(bundle: Bundle, stage: Stage, fold: int, *, threads: int | None) -> onnxruntime.InferenceSession:
    """Open one network; `FsatError` if its file was changed, is damaged or does not fit bundle.json."""
    network = bundle.manifest.networks[stage]
    inputs: Shapes = {"pca": [None, network.n_components]} if network.n_components else {}
    outputs: Shapes = {"probabilities": [None, len(bundle.manifest.labels)], "embedding": [None, network.n_embedding]}
    session = _open(bundle, network_name(stage, fold), inputs, outputs, threads)
    # A network that others made may say nothing of its labels.
    expected = json.dumps(bundle.manifest.labels)
    if session.get_modelmeta().custom_metadata_map.get("labels", expected) != expected:
        what = f"{bundle.folder / network_name(stage, fold)}: was trained on other labels than bundle.json lists"
        raise FsatError(f"{what}. Make the bundle anew: `dvc repro bundle`.")
    return session


def open_trunk(bundle: Bundle, *, threads: int | None) -> onnxruntime.InferenceSession:
    """Open the network that gives the views of whole clips; raises as `open_network` does."""
    outputs: Shapes = {view: [None, length] for view, length in bundle.manifest.views.items()}
    return _open(bundle, TRUNK, {}, outputs, threads)


def _open(
    bundle: Bundle, name: str, more_inputs: Shapes, outputs: Shapes, threads: int | None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # what is wrong is raised; nothing is printed as well
    options.enable_cpu_mem_arena = False  # where each length T would leave a block of its own
    try:
        session = onnxruntime.InferenceSession(bundle.content(name), options, providers=["CPUExecutionProvider"])
    except _REFUSED as error:
        reason = _reason(error)
        raise FsatError(f"{bundle.folder / name}: is no network that ONNX Runtime opens ({reason}).") from error
    inputs = {"mel": [None, bundle.manifest.preprocessing.mel.n_mels, None, 1]} | more_inputs
    for what, tensors, expected in (
        ("inputs", session.get_inputs(), inputs),
        ("outputs", session.get_outputs(), outputs),
    ):
        if (found := {tensor.name: _shape(tensor) for tensor in tensors}) != expected:
            text = f"does not fit bundle.json: its {what} are {found}, expected {expected}."
            raise FsatError(f"{bundle.folder / name}: {text}")
    return session


def _shape(tensor: Any) -> list[int | None]:
    """A free dimension is None, and so is every one of a tensor that is not float32."""
    is_float = tensor.type == "tensor(float)"
    return [size if is_float and isinstance(size, int) else None for size in tensor.shape]


def predictor(session: onnxruntime.InferenceSession, *, embeddings: bool, name: str) -> Predictor:
    """Function of a batch's inputs that gives probabilities (B, C), followed by the embedding (B, C + E) if asked.

    It raises `FsatError` if the network fails, or gives what are no probabilities.
    """
    outputs = ["probabilities", "embedding"] if embeddings else ["probabilities"]

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        found = _run(session, outputs, inputs, name)
        if not (found[0].min() >= 0 and found[0].max() <= 1 + _ROUNDING):  # NaN fails it too
            raise FsatError(f"{name}: gives outputs that are no probabilities. Make the bundle anew.")
        return np.concatenate(found, axis=1)

    return predict


def viewer(session: onnxruntime.InferenceSession, *, views: Sequence[str], name: str) -> Predictor:
    """Function of the input "mel" (B, M, T, 1) that gives views side by side, (B, k); raises as that of `predictor`."""

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        found = np.concatenate(_run(session, list(views), inputs, name), axis=1)
        if not np.isfinite(found).all():
            raise FsatError(f"{name}: gives views that are not finite. Make the bundle anew.")
        return found

    return predict


def _run(
    session: onnxruntime.InferenceSession, outputs: list[str], inputs: dict[str, np.ndarray], name: str
) -> list[np.ndarray]:
    """Outputs (B, width) of a batch; `FsatError` if the network fails or gives other shapes than it announced."""
    widths = {tensor.name: tensor.shape[1] for tensor in session.get_outputs()}
    try:
        found: list[np.ndarray] = session.run(
            outputs, {tensor.name: inputs[tensor.name] for tensor in session.get_inputs()}
        )
    except _REFUSED as error:
        raise FsatError(f"{name}: fails on a batch ({_reason(error)}). Make the bundle anew.") from error
    for output, array in zip(outputs, found, strict=True):
        if array.shape != (len(inputs["mel"]), widths[output]):
            what = f"gives {output} of shape {array.shape} for {len(inputs['mel'])} inputs"
            raise FsatError(f"{name}: {what}. Make the bundle anew.")
    return found


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
