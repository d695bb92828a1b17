"""The published EfficientAT network with its own head: a tagger of AudioSet's labels before any training.

Source: F. Schmid, K. Koutini, G. Widmer, "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge
Distillation", ICASSP 2023.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from fsat.core import params
from fsat.core.errors import FsatError
from fsat.networks import efficientat, onnx_export

# The front end that the published networks were trained with; presets/audioset.yaml has the same numbers.
FRONT_END = params.Mel(sample_rate=32_000, n_fft=1024, hop_length=320, n_mels=128, style="kaldi")
# Widths that were published: mn04 to mn40.
WIDTHS = (0.4, 0.5, 1.0, 2.0, 4.0)
# Mean average precision on AudioSet's evaluation clips that the authors report, by sha256 of the checkpoint.
REPORTED_MAP = {"899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c": 0.432}
_LAST = f"features.{len(efficientat.BLOCKS) + 1}.0.weight"


@dataclass(frozen=True)
class Converted:
    """A network as an ONNX file, and what a bundle has to know about it."""

    onnx: bytes
    width: float
    parameters: int
    n_embedding: int


def width_of(tensors: Mapping[str, np.ndarray]) -> float:
    """Width multiplier of a published checkpoint, by the channels of its last convolution.

    Raises
    ------
    FsatError
        If no published width has so many.
    """
    found = tensors[_LAST].shape[0] if _LAST in tensors and tensors[_LAST].ndim else None
    for width in WIDTHS:
        if found == efficientat.n_features(width):
            return width
    raise FsatError(
        f"the checkpoint is none of the published EfficientAT networks mn04 to mn40 ({_LAST} has {found} channels). "
        "Check sources.audioset.url."
    )


def build(tensors: Mapping[str, np.ndarray]) -> keras.Model:
    """Network of a checkpoint: log-mel "mel" (B, 128, T, 1) -> probabilities (B, 527), independent of each other.

    Parameters
    ----------
    tensors : mapping of name to np.ndarray
        The checkpoint's, in PyTorch's layout.

    Raises
    ------
    FsatError
        If they are not those of a published network.
    """
    width = width_of(tensors)
    tagger = efficientat.build_tagger(width, FRONT_END.n_mels)
    efficientat.fill(tagger, tensors, width=width)
    probabilities = keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")(tagger.output["logits"])
    return keras.Model(tagger.inputs, probabilities)


def convert(tensors: Mapping[str, np.ndarray]) -> Converted:
    """The network of a checkpoint as ONNX; equal checkpoints give equal bytes.

    Raises
    ------
    FsatError
        If the tensors are not those of a published network, or Keras does not run on TensorFlow.
    """
    onnx_export.prepare()
    network = build(tensors)
    content = onnx_export.to_onnx(network, outputs=("probabilities", "embedding"))
    n_embedding = int(network.get_layer("embedding").output.shape[-1])
    return Converted(content, width_of(tensors), network.count_params(), n_embedding)
