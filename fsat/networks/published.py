"""The published EfficientAT network with its own head: a tagger of AudioSet's labels before any training.

Source: F. Schmid, K. Koutini, G. Widmer, "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge
Distillation", ICASSP 2023.
"""

from collections.abc import Mapping

import keras
import numpy as np

from fsat.core import params
from fsat.networks import efficientat, onnx_export

# The front end that the published networks were trained with; presets/audioset.yaml has the same numbers.
FRONT_END = params.Mel(sample_rate=32_000, n_fft=1024, hop_length=320, n_mels=128, style="kaldi")


def build(tensors: Mapping[str, np.ndarray], *, width: float) -> keras.Model:
    """Network of a checkpoint: log-mel "mel" (B, 128, T, 1) -> probabilities (B, 527), independent of each other.

    Tensors are in PyTorch's layout, `width` is 0.4 for mn04. `FsatError` if the tensors do not fit the width.
    """
    tagger = efficientat.build_tagger(width, FRONT_END.n_mels)
    efficientat.fill(tagger, tensors, width=width)
    probabilities = keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")(tagger.output["logits"])
    return keras.Model(tagger.inputs, probabilities)


def convert(tensors: Mapping[str, np.ndarray], *, width: float) -> tuple[bytes, int, int]:
    """The network of a checkpoint (`build`) as ONNX, its number of parameters, the length of its embedding.

    Equal checkpoints give equal bytes. `FsatError` without TensorFlow.
    """
    onnx_export.prepare()
    network = build(tensors, width=width)
    content = onnx_export.to_onnx(network, outputs=("probabilities", "embedding"))
    return content, network.count_params(), int(network.get_layer("embedding").output.shape[-1])
