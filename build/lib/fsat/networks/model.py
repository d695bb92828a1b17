"""The two networks: log-mel only (stage 1), and log-mel with principal components (stage 2).

Shapes: B clips in a batch, M mel bins, T frames (free), P principal components, C classes.
"""

import inspect
import tempfile
from pathlib import Path

import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.core.quiet import without_startup_notes

with without_startup_notes():
    import keras
    from keras import layers

# The total stride of the backbones: a lower picture vanishes before it is pooled.
MIN_MELS = 32

# Spectrogram (1 channel) -> picture (3 channels).
PICTURE = ("mel_conv1", "mel_conv2")

# The part stage 2 takes over from stage 1, input to pooling, by layer name.
TRANSFERRED = ("mel_norm", *PICTURE, "trunk")


def build_trunk(backbone: str, *, width: float = 1.0, weights: str | None = None) -> keras.Model:
    """A `keras.applications` network without its top, for images of any size.

    Parameters
    ----------
    backbone : str
        Name of a function in `keras.applications`, such as "MobileNetV2".
    width : float
        Passed on as `alpha` where the backbone has that argument (MobileNet family); otherwise it must be 1.
    weights : {None, "imagenet"}
        Random or downloaded initial weights.

    Returns
    -------
    keras.Model
        (B, H, W, 3) -> (B, h, w, channels), named "trunk".

    Raises
    ------
    FsatError
        If there is no such backbone, it has no width to set, or it needs images of a fixed size.
    """
    function = getattr(keras.applications, backbone, None)
    if not inspect.isfunction(function):
        known = sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))
        raise FsatError(f"model.backbone: keras.applications has no '{backbone}'. Choose one of: {', '.join(known)}.")
    arguments = inspect.signature(function).parameters
    options: dict[str, object] = {"name": "trunk"} if "name" in arguments else {}
    if "include_preprocessing" in arguments:
        options["include_preprocessing"] = False
    if "alpha" in arguments:
        options["alpha"] = width
    elif width != 1.0:
        raise FsatError(f"model.width: {backbone} has no width multiplier, so width must be 1. Got {width}.")
    try:
        trunk = function(include_top=False, weights=weights, input_shape=(None, None, 3), **options)
    except ValueError as error:
        raise FsatError(f"model.backbone: {backbone} cannot be built for pictures of any length ({error}).") from error
    trunk.name = "trunk"
    return trunk


def load_trunk_weights(trunk: keras.Model, path: str | Path) -> None:
    """Fill the trunk from a `.weights.h5` file; `FsatError` if it is missing, broken or of another shape."""
    if not Path(path).is_file():
        raise FsatError(f"model.weights: {path} does not exist. Point it at a .weights.h5 file of the backbone.")
    try:
        trunk.load_weights(str(path))
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FsatError(
            f"model.weights: {path} does not fit this backbone ({reason}). "
            "The file must hold the same backbone at the same model.width, without its top."
        ) from error


def build_network(
    *,
    backbone: str,
    width: float,
    batchnorm_momentum: float,
    n_mels: int,
    n_classes: int,
    n_components: int = 0,
) -> keras.Model:
    """Network of stage 1 (`n_components` 0) or stage 2, with fresh weights.

    Inputs "mel" (B, M, T, 1), scaled to about [0, 1], and for stage 2 "pca" (B, P); output (B, C) probabilities.
    `batchnorm_momentum` is an upper limit for every batch normalisation: at 0.999 each keeps Keras' own momentum
    (0.999 in MobileNetV2, 0.99 elsewhere); less is for small data, where running averages that slow would need
    thousands of steps before they serve at inference.
    Source: write-up of the 8th place, Freesound General-Purpose Audio Tagging Challenge 2018.
    """
    if n_mels < MIN_MELS:
        raise FsatError(f"mel.n_mels: the networks need at least {MIN_MELS} mel bands. Got {n_mels}.")
    mel = layers.Input((n_mels, None, 1), name="mel")
    x = layers.BatchNormalization(name="mel_norm")(mel)
    x = layers.Conv2D(10, 1, activation="relu", name="mel_conv1")(x)
    x = layers.Conv2D(3, 1, activation="relu", name="mel_conv2")(x)  # (B, M, T, 3): an image
    trunk = build_trunk(backbone, width=width)
    try:
        x = trunk(x)
    except ValueError as error:
        raise FsatError(f"model.backbone: {backbone} cannot read pictures of {n_mels} bins and any length.") from error
    x = layers.GlobalAveragePooling2D(name="embedding")(x)  # (B, channels)
    inputs = {"mel": mel}
    if n_components:
        pca = layers.Input((n_components,), name="pca")
        x = layers.Concatenate(name="mel_and_pca")([x, layers.BatchNormalization(name="pca_norm")(pca)])
        inputs["pca"] = pca
    for number, units in enumerate((1536, 384), start=1):
        x = layers.Dense(units, activation="relu", name=f"head_dense{number}")(x)
        x = layers.BatchNormalization(name=f"head_norm{number}")(x)
    # Probabilities stay float32 under mixed precision.
    output = layers.Dense(n_classes, activation="softmax", dtype="float32", name="probabilities")(x)
    model = keras.Model(inputs, output, name="stage2" if n_components else "stage1")
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = min(layer.momentum, batchnorm_momentum)
    while _is_black(model):
        for name in PICTURE:
            kernel = model.get_layer(name).kernel
            kernel.assign(keras.initializers.GlorotUniform()(kernel.shape))
    return model


def _is_black(network: keras.Model) -> bool:
    """Whether the picture given to the trunk is zero whatever the spectrogram: such a network can never learn.

    Each of the three channels is dead from the start with probability 1/4, as its weights on the rising and on the
    falling part of its input may both be negative; all three are so in one network of 64.
    """
    x = np.array([[-1.0], [1.0]])  # both sides of the mean: every layer up to the picture is linear on each
    for name in PICTURE:
        kernel, bias = network.get_layer(name).get_weights()
        x = np.maximum(x @ kernel[0, 0] + bias, 0)
    return not x.any()


def transfer(stage1: keras.Model, stage2: keras.Model) -> None:
    """Copy input normalisation, both convolutions and the trunk of a stage-1 network into a stage-2 network."""
    for name in TRANSFERRED:
        stage2.get_layer(name).set_weights(stage1.get_layer(name).get_weights())


def save_trunk(trunk: keras.Model, path: str | Path) -> None:
    """Write a trunk's weights as a `.weights.h5` file that `load_trunk_weights` reads."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras insists on the ending .weights.h5, so the file is written under its own name in a folder beside it.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        trunk.save_weights(Path(folder) / path.name)
        (Path(folder) / path.name).replace(path)


def save_network(network: keras.Model, path: str | Path) -> None:
    """Write a network's weights as a `.weights.h5` file, without the state of the optimiser it was trained with."""
    keras.Model(network.inputs, network.outputs).save_weights(str(path))


def load_network(folder: str | Path) -> keras.Model:
    """Network of a folder that training wrote: built as its `summary.json` says, filled from `model.weights.h5`."""
    folder = Path(folder)
    network = build_network(**files.read_json(folder / "summary.json")["network"])
    try:
        network.load_weights(str(folder / "model.weights.h5"))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FsatError(f"{folder}/model.weights.h5: cannot be loaded ({reason}). Run `dvc repro`.") from error
    return network
