"""A bundle's networks as ONNX files, for programs without Keras. Needs the extra `onnx`."""

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.inputs import batches
from fsat.networks import backend
from fsat.tagger import bundle, tagger
from fsat.tagger.bundle import Bundle


def export(opened: Bundle, out: str | Path, *, stage: str, n_folds: int | None = None) -> list[Path]:
    """Write ``<stage>_fold<k>.onnx`` for each fold, and ``networks.json`` that says how to ask them.

    Inputs "mel" (B, M, T, 1) float32, scaled to about [0, 1], and for stage 2 "pca" (B, P) float32; output
    "probabilities" (B, C) float32. B and T are free.

    Parameters
    ----------
    opened : Bundle
    out : path
        Folder; made if it is not there.
    stage : {"stage1", "stage2"}
    n_folds : int or None
        The first folds of the bundle; None: all.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    FsatError
        If the bundle has not that many folds, the packages for it are missing, or Keras does not run on TensorFlow.
    """
    prediction = opened.manifest.prediction
    folds = prediction.first_folds(n_folds)
    missing = [name for name in ("tf2onnx", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise FsatError(f"export to ONNX needs the package {' and '.join(missing)}: run `pip install -e '.[onnx]'`.")
    if keras.backend.backend() != "tensorflow":
        raise FsatError(
            f"export to ONNX needs Keras on TensorFlow, not {keras.backend.backend()}: unset KERAS_BACKEND."
        )
    backend.prepare(prediction.seed)
    Path(out).mkdir(parents=True, exist_ok=True)
    written = []
    for fold, network in tagger.load_networks(opened, stage, folds):
        path = Path(out) / f"{stage}_fold{fold}.onnx"
        with files.atomic_file(path) as part:
            _write(network, part)
        written.append(path)
    path = Path(out) / "networks.json"
    files.write_json(path, _instructions(opened.manifest, stage, [file.name for file in written]))
    return [*written, path]


def _write(network: keras.Model, path: Path) -> None:
    import onnx

    # Keras exports networks that were called once.
    network({tensor.name: np.zeros((1, *(n or batches.STRIDE for n in tensor.shape[1:]))) for tensor in network.inputs})
    network.export(str(path), format="onnx", verbose=False)
    proto = onnx.load(str(path))
    output = proto.graph.output[0]
    for node in proto.graph.node:
        node.output[:] = ["probabilities" if name == output.name else name for name in node.output]
    output.name = "probabilities"
    for tensor in (*proto.graph.input, output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "B"
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _instructions(manifest: bundle.Manifest, stage: str, names: list[str]) -> dict[str, Any]:
    low, high = manifest.preprocessing.mel.limits
    inputs = {
        "mel": f"(B, {manifest.preprocessing.mel.n_mels}, T, 1): (x - {low}) / ({high} - {low}) of a "
        "trimmed clip's log-mel spectrogram"
    }
    if manifest.networks[stage].n_components:  # type: ignore[index]
        inputs["pca"] = f"(B, {manifest.networks[stage].n_components}): principal components, by projection.npz"  # type: ignore[index]
    return {
        "networks": names,
        "inputs": inputs,
        "output": "probabilities (B, C); networks and passes are combined as exp(mean of log p), scaled to a sum of 1",
        "frames": {"shortest": manifest.prediction.bounds[0], "longest": manifest.prediction.bounds[1]},
        "labels": manifest.labels,
        "preprocessing": manifest.preprocessing.model_dump(),
    }
