"""The published EfficientAT network with its own head: a tagger of AudioSet's labels before any training.

Source: F. Schmid, K. Koutini, G. Widmer, "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge
Distillation", ICASSP 2023.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from fsat.core import params
from fsat.networks import efficientat, onnx_export

# The front end that the published networks were trained with; presets/audioset.yaml has the same numbers.
FRONT_END = params.Mel(sample_rate=32_000, n_fft=1024, hop_length=320, n_mels=128, style="kaldi")


@dataclass(frozen=True)
class Converted:
    """A network as an ONNX file, and what a bundle has to know about it."""

    onnx: bytes
    parameters: int
    n_embedding: int


def build(tensors: Mapping[str, np.ndarray], *, width: float) -> keras.Model:
    """Network of a checkpoint: log-mel "mel" (B, 128, T, 1) -> probabilities (B, 527), independent of each other.

    Tensors are in PyTorch's layout, `width` is 0.4 for mn04. `FsatError` if the tensors do not fit the width.
    """
    tagger = efficientat.build_tagger(width, FRONT_END.n_mels)
    efficientat.fill(tagger, tensors, width=width)
    probabilities = keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")(tagger.output["logits"])
    return keras.Model(tagger.inputs, probabilities)


def convert(tensors: Mapping[str, np.ndarray], *, width: float) -> Converted:
    """The network of a checkpoint (`build`) as ONNX; equal bytes for equal ones. `FsatError` without TensorFlow."""
    onnx_export.prepare()
    network = build(tensors, width=width)
    content = onnx_export.to_onnx(network, outputs=("probabilities", "embedding"))
    n_embedding = int(network.get_layer("embedding").output.shape[-1])
    return Converted(content, network.count_params(), n_embedding)
