"""EfficientAT "MN": a MobileNetV3-Large for log-mel spectrograms of one channel, which AudioSet weights exist for.

Source: F. Schmid, K. Koutini, G. Widmer, "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge
Distillation", ICASSP 2023, and its published code (fschmid56/EfficientAT, MIT licence). Layers are named as the tensors
of the published checkpoints, so that `fill` finds them by name.

Shapes: B clips in a batch, M mel bands, T frames, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from fsat.core.errors import FsatError


@dataclass(frozen=True)
class Block:
    """An inverted residual: 1x1 convolution to `expanded` channels, depthwise `kernel`, 1x1 to `out` channels."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: str
    stride: int


# Channels at width 1.
BLOCKS = (
    Block(3, 16, 16, False, "relu", 1),
    Block(3, 64, 24, False, "relu", 2),
    Block(3, 72, 24, False, "relu", 1),
    Block(5, 72, 40, True, "relu", 2),
    Block(5, 120, 40, True, "relu", 1),
    Block(5, 120, 40, True, "relu", 1),
    Block(3, 240, 80, False, "hard_swish", 2),
    Block(3, 200, 80, False, "hard_swish", 1),
    Block(3, 184, 80, False, "hard_swish", 1),
    Block(3, 184, 80, False, "hard_swish", 1),
    Block(3, 480, 112, True, "hard_swish", 1),
    Block(3, 672, 112, True, "hard_swish", 1),
    Block(5, 672, 160, True, "hard_swish", 2),
    Block(5, 960, 160, True, "hard_swish", 1),
    Block(5, 960, 160, True, "hard_swish", 1),
)
_STEM = 16


def build_trunk(width: float) -> keras.Model:
    """The network up to its last convolution: (B, M, T, 1) -> (B, m, t, C), named "trunk"; any M and T from 32 on.

    `width` multiplies all channel counts, 0.4 (mn04, C = 384) to 4 (mn40, C = 3840); `FsatError` out of range.
    """
    if not 0.4 <= width <= 4:
        raise FsatError(f"model.width: EfficientAT has widths from 0.4 to 4.0. Got {width}.")
    spectrogram = layers.Input((None, None, 1), name="spectrogram")
    x = _convolution(spectrogram, _channels(_STEM, width), kernel=3, stride=2, name="features.0.0")
    x = _activation("hard_swish")(_norm("features.0.1")(x))
    for number, block in enumerate(BLOCKS, start=1):
        x = _residual(x, block, width, name=f"features.{number}")
    last = f"features.{len(BLOCKS) + 1}"
    x = _convolution(x, n_features(width), kernel=1, stride=1, name=f"{last}.0")
    x = _activation("hard_swish")(_norm(f"{last}.1")(x))
    return keras.Model(spectrogram, x, name="trunk")


def n_features(width: float) -> int:
    """Channels C of the trunk's output."""
    return 6 * _channels(BLOCKS[-1].out, width)


def views(trunk: keras.Model, n_mels: int, hidden: tuple[np.ndarray, np.ndarray] | None = None) -> keras.Model:
    """What a trunk of `build_trunk` says of whole clips: "mel" (B, M, T, 1) -> {name of a view: (B, k)}.

    "pooled" is the mean of the trunk's output over bands and frames (k = C). "middle" are such means of what the first
    layer of each block and the last convolution read: the outputs of the stem (with the zeros that pad it) and of all
    blocks; then of what the squeeze layers see. "last" is the mean of the trunk's output over frames alone, the lowest
    of its m bands first (m x C), then the hidden layer of the published head. At width 0.4 and 128 mel bands k is 384,
    2144 and 2048. Outputs come from layers that are named like the views.

    Parameters
    ----------
    n_mels : int
        M, which m follows from.
    hidden : pair of np.ndarray, optional
        Kernel (C, H) and bias (H,) of the layer "classifier.2"; without it there is no "last".
    """
    mel = layers.Input((n_mels, None, 1), name="mel")
    first = (f"features.{number}.block.0.0" for number in range(1, len(BLOCKS) + 1))
    outputs = [trunk.get_layer(name).input for name in (*first, f"features.{len(BLOCKS) + 1}.0")]
    squeezed = [layer.input for layer in trunk.layers if layer.name.endswith(".fc1")]
    inside = keras.Model(trunk.input, [trunk.output, *outputs, *squeezed], name="inside")
    last, *others = inside(mel)  # (B, m, t, C)
    means = [x if len(x.shape) == 2 else layers.GlobalAveragePooling2D()(x) for x in others]
    found = {
        "pooled": layers.GlobalAveragePooling2D(name="pooled")(last),
        "middle": layers.Concatenate(name="middle")(means),
    }
    if hidden is not None:
        dense = layers.Dense(len(hidden[1]), name="classifier.2")
        of_head = _activation("hard_swish")(dense(found["pooled"]))
        dense.set_weights(hidden)
        bands = layers.Flatten()(ops.mean(last, axis=2))  # (B, m x C)
        found["last"] = layers.Concatenate(name="last")([bands, of_head])
    return keras.Model(mel, found, name="views")


def build_tagger(width: float, n_mels: int | None = None) -> keras.Model:
    """The published network: log-mel "mel" (B, M, T, 1) -> "embedding" (B, C) and AudioSet "logits" (B, 527).

    `n_mels` fixes M, which no weight depends on.
    """
    mel = layers.Input((n_mels, None, 1), name="mel")
    embedding = layers.GlobalAveragePooling2D(name="embedding")(build_trunk(width)(mel))
    x = _activation("hard_swish")(layers.Dense(_channels(1280, width), name="classifier.2")(embedding))
    x = layers.Dropout(0.2)(x)
    logits = layers.Dense(527, name="classifier.5")(x)  # the labels of AudioSet
    return keras.Model(mel, {"embedding": embedding, "logits": logits}, name="efficientat")


def _residual(x: keras.KerasTensor, block: Block, width: float, *, name: str) -> keras.KerasTensor:
    given = x
    expanded, out = _channels(block.expanded, width), _channels(block.out, width)
    # The published layers are numbered in the order in which they occur.
    step = 0
    if expanded != given.shape[-1]:
        x = _convolution(x, expanded, kernel=1, stride=1, name=f"{name}.block.{step}.0")
        x = _activation(block.activation)(_norm(f"{name}.block.{step}.1")(x))
        step += 1
    options = {"padding": "valid", "use_bias": False, "name": f"{name}.block.{step}.0"}
    x = layers.DepthwiseConv2D(block.kernel, block.stride, **options)(_padded(x, block.kernel))
    x = _activation(block.activation)(_norm(f"{name}.block.{step}.1")(x))
    step += 1
    if block.squeeze:
        x = _squeeze_and_excite(x, name=f"{name}.block.{step}.conc_se_layers.0")
        step += 1
    x = _convolution(x, out, kernel=1, stride=1, name=f"{name}.block.{step}.0")
    x = _norm(f"{name}.block.{step}.1")(x)
    return layers.Add()([x, given]) if block.stride == 1 and out == given.shape[-1] else x


def _squeeze_and_excite(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Scale each channel by a number in (0, 1) that depends on the means of all channels."""
    channels = x.shape[-1]
    scale = layers.GlobalAveragePooling2D()(x)  # (B, C)
    scale = layers.Dense(_divisible(channels // 4), activation="relu", name=f"{name}.fc1")(scale)
    scale = layers.Dense(channels, activation="sigmoid", name=f"{name}.fc2")(scale)
    return layers.Multiply()([x, layers.Reshape((1, 1, channels))(scale)])


def _convolution(x: keras.KerasTensor, channels: int, *, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    return layers.Conv2D(channels, kernel, stride, padding="valid", use_bias=False, name=name)(_padded(x, kernel))


def _padded(x: keras.KerasTensor, kernel: int) -> keras.KerasTensor:
    """Zeros on all sides, equally many: Keras' own "same" pads less at the start where the stride is 2."""
    return layers.ZeroPadding2D((kernel - 1) // 2)(x) if kernel > 1 else x


def _norm(name: str) -> keras.layers.Layer:
    return layers.BatchNormalization(epsilon=0.001, momentum=0.99, name=name)


def _activation(name: str) -> keras.layers.Layer:
    return layers.Activation(ops.hard_swish if name == "hard_swish" else name)


def _channels(at_width_1: int, width: float) -> int:
    return _divisible(at_width_1 * width)


def _divisible(value: float) -> int:
    """The nearest multiple of 8, but no more than a tenth below `value`."""
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


def fill(network: keras.Model, tensors: Mapping[str, np.ndarray], *, width: float) -> None:
    """Give a network of `build_tagger` the weights of a published checkpoint, which are in PyTorch's layout.

    `FsatError` if a tensor is missing, not known, of another shape, or no numbers; `width` is for the message.
    """
    every = [*network.layers, *network.get_layer("trunk").layers]
    to_fill = [layer for layer in every if layer.weights and layer.name != "trunk"]
    names = {layer.name: [f"{layer.name}.{name}" for name in _tensor_names(layer)] for layer in to_fill}
    expected = {name for of_layer in names.values() for name in of_layer}
    given = {name for name in tensors if not name.endswith(".num_batches_tracked")}
    if lacking := expected - given:
        raise FsatError(f"the checkpoint lacks {len(lacking)} tensors of EfficientAT, first {min(lacking)}.")
    if unknown := given - expected:
        raise FsatError(f"the checkpoint has {len(unknown)} tensors that EfficientAT does not, first {min(unknown)}.")
    for layer in to_fill:
        values = [_keras_layout(layer, tensors[name]) for name in names[layer.name]]
        for name, value, weight in zip(names[layer.name], values, layer.weights, strict=True):
            if value.shape != tuple(weight.shape):
                shape = tensors[name].shape
                raise FsatError(f"the checkpoint's {name} has the shape {shape}, which does not fit the width {width}.")
            if not np.isfinite(value).all():
                raise FsatError(f"the checkpoint's {name} holds values that are no numbers.")
        layer.set_weights(values)


def _tensor_names(layer: keras.layers.Layer) -> tuple[str, ...]:
    """PyTorch's names of a layer's weights, in Keras' order."""
    if isinstance(layer, layers.BatchNormalization):
        return ("weight", "bias", "running_mean", "running_var")
    return ("weight", "bias") if isinstance(layer, layers.Dense) else ("weight",)


def _keras_layout(layer: keras.layers.Layer, tensor: np.ndarray) -> np.ndarray:
    """PyTorch keeps (out, in, height, width) and (out, in); Keras has the outputs last."""
    if tensor.ndim == 4:
        axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
        return tensor.transpose(axes)
    return tensor.T
