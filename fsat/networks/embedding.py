"""Views of whole clips: what a trunk with its initial weights makes of them, without augmentation."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from fsat.core.errors import FsatError
from fsat.inputs import whole_clips
from fsat.inputs.frames import FrameStore
from fsat.networks import backend, model, provenance


def load(weights: str | Path, backbone: str, *, width: float, n_mels: int, names: Sequence[str]) -> keras.Model:
    """Network of a trunk with the initial weights of a file: "mel" (B, M, T, 1) -> {name of a view: (B, k)}.

    `names` are the views wanted, such as "last" (`efficientat.views`). `FsatError` if the weights cannot be loaded, or
    the trunk lacks a view.
    """
    found: dict[str, keras.KerasTensor] = {}
    if backbone in model.AUDIO_TRUNKS:
        trunk = model.build_trunk(backbone, width=width)
        model.load_trunk_weights(trunk, weights)
        network = model.AUDIO_TRUNKS[backbone].views(trunk, n_mels, provenance.hidden(weights))
        found = network.output
    if lacking := [name for name in names if name not in found]:
        known = ", ".join(sorted(found)) or "none, as it reads images that untrained layers make"
        text = f"embed.views: {backbone} with the weights {weights} has no view {lacking[0]}. It has: {known}"
        if found and "last" in lacking:
            text += "; last needs a file that keeps the published head's hidden layer (sources/dvc.yaml:audioset)"
        raise FsatError(f"{text}.")
    return keras.Model(network.inputs, {name: found[name] for name in names})


def embed(network: keras.Model, store: FrameStore, *, name: str) -> dict[str, np.ndarray]:
    """Views of every clip of a store by a network of `load`: float32 (n, k) each.

    A clip is seen whole (`whole_clips.parts`), independent of all others.
    """
    views = network.output
    tensors = list(views.values())
    joint = keras.layers.Concatenate(dtype="float32")(tensors) if len(tensors) > 1 else tensors[0]
    predict = backend.predictor(keras.Model(network.inputs, joint))
    values = whole_clips.outputs(predict, store, n_outputs=joint.shape[-1], name=name)
    edges = np.cumsum([tensor.shape[-1] for tensor in tensors])[:-1]
    return dict(zip(views, np.split(values, edges, axis=1), strict=True))
