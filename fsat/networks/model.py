"""The two networks: log-mel only (stage 1), and log-mel with principal components (stage 2).

Shapes: B clips in a batch, M mel bins, T frames (free), P principal components, C classes.
"""

import inspect
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

from fsat.core import files, keras_backend
from fsat.core.errors import FsatError
from fsat.core.network import STRIDE, check_labels
from fsat.networks import efficientat, provenance

# Trunks that read a spectrogram of one channel, as all others read images: a module with `build_trunk` and `views`.
AUDIO_TRUNKS = {"EfficientAT": efficientat}

# Spectrogram (1 channel) -> image (3 channels).
CONVOLUTIONS = ("mel_conv1", "mel_conv2")


def build_trunk(backbone: str, *, width: float = 1.0, weights: str | None = None) -> keras.Model:
    """A network without its head, for inputs of any size: one of `AUDIO_TRUNKS` or of `keras.applications`.

    Returns a model (B, H, W, 1 or 3) -> (B, h, w, channels), named "trunk". `FsatError` if there is no such backbone,
    it has no width to set, or it needs images of a fixed size.

    Parameters
    ----------
    backbone : str
        A key of `AUDIO_TRUNKS`, or the name of a function in `keras.applications`, such as "MobileNetV2".
    width : float
        Of an audio trunk; else passed on as `alpha` where the backbone has that argument (MobileNet family), and 1
        where it has not.
    weights : {None, "imagenet"}
        Random or downloaded initial weights; an audio trunk has random ones.
    """
    if backbone in AUDIO_TRUNKS:
        return AUDIO_TRUNKS[backbone].build_trunk(width)
    function = getattr(keras.applications, backbone, None)
    if not inspect.isfunction(function):
        known = sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))
        names = ", ".join([*AUDIO_TRUNKS, *known])
        raise FsatError(f"model.backbone: keras.applications has no '{backbone}'. Choose one of: {names}.")
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
        raise FsatError(f"model.backbone: {backbone} cannot be built for images of any length ({error}).") from error
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
    head: Sequence[int] = (1536, 384),
    freeze_batchnorm: bool = False,
) -> keras.Model:
    """Network of stage 1 (`n_components` 0) or stage 2, with fresh weights.

    Inputs "mel" (B, M, T, 1), scaled to about [0, 1], and for stage 2 "pca" (B, P); output (B, C) probabilities.
    `batchnorm_momentum` is an upper limit for every batch normalisation: at 0.999 each keeps Keras' own momentum
    (0.999 in MobileNetV2, 0.99 elsewhere); less is for small data, where running averages that slow would need
    thousands of steps before they serve at inference. `freeze_batchnorm`: those of the trunk learn nothing and
    normalise with their initial averages, in training too. `head` holds the widths of the dense layers (ReLU, then
    batch normalisation) between pooling and softmax.

    A trunk with one input channel reads the spectrogram itself; one with three reads an image that two convolutions
    make of it.
    Source: write-up of the 8th place, Freesound General-Purpose Audio Tagging Challenge 2018.
    """
    if n_mels < STRIDE:
        raise FsatError(f"mel.n_mels: the networks need at least {STRIDE} mel bands. Got {n_mels}.")
    mel = layers.Input((n_mels, None, 1), name="mel")
    reads_images = backbone not in AUDIO_TRUNKS
    x = mel
    if reads_images:
        x = layers.BatchNormalization(name="mel_norm")(x)
        x = layers.Conv2D(10, 1, activation="relu", name="mel_conv1")(x)
        x = layers.Conv2D(3, 1, activation="relu", name="mel_conv2")(x)  # (B, M, T, 3): an image
    trunk = build_trunk(backbone, width=width)
    try:
        x = trunk(x)
    except ValueError as error:
        raise FsatError(f"model.backbone: {backbone} cannot read images of {n_mels} bins and any length.") from error
    x = layers.GlobalAveragePooling2D(name="embedding")(x)  # (B, channels)
    inputs = {"mel": mel}
    if n_components:
        pca = layers.Input((n_components,), name="pca")
        x = layers.Concatenate(name="mel_and_pca")([x, layers.BatchNormalization(name="pca_norm")(pca)])
        inputs["pca"] = pca
    for number, units in enumerate(head, start=1):
        x = layers.Dense(units, activation="relu", name=f"head_dense{number}")(x)
        x = layers.BatchNormalization(name=f"head_norm{number}")(x)
    # Probabilities stay float32 under mixed precision.
    output = layers.Dense(n_classes, activation="softmax", dtype="float32", name="probabilities")(x)
    model = keras.Model(inputs, output, name="stage2" if n_components else "stage1")
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = min(layer.momentum, batchnorm_momentum)
    if freeze_batchnorm:
        for layer in trunk._flatten_layers():
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False  # which makes Keras normalise with the averages in training too
    while reads_images and _is_dead(model):
        for name in CONVOLUTIONS:
            kernel = model.get_layer(name).kernel
            kernel.assign(keras.initializers.GlorotUniform()(kernel.shape))
    return model


def _is_dead(network: keras.Model) -> bool:
    """Whether all three 1x1-convolution channels are dead ReLUs: the trunk sees zeros, and nothing can be learned.

    Each channel is dead at initialisation with probability 1/4, as its weights on the rising and on the
    falling part of its input may both be negative; all three are with probability 1/64.
    """
    x = np.array([[-1.0], [1.0]])  # both sides of the mean: every layer up to the image is linear on each
    for name in CONVOLUTIONS:
        kernel, bias = network.get_layer(name).get_weights()
        x = np.maximum(x @ kernel[0, 0] + bias, 0)
    return not x.any()


def input_averages(network: keras.Model) -> set[int]:
    """Ids of the running averages of a network's inputs, which depend on none of its weights."""
    norms = [layer for layer in network.layers if layer.name in ("mel_norm", "pca_norm")]
    return {id(average) for norm in norms for average in (norm.moving_mean, norm.moving_variance)}


def transfer(stage1: keras.Model, stage2: keras.Model) -> None:
    """Start a stage-2 network from a stage-1 network: all but the head, and the head where it is the softmax alone.

    A head without hidden layers then predicts what stage 1 does: its weights of the components are 0. One with hidden
    layers starts fresh.
    """
    names = {layer.name for layer in stage1.layers}
    for name in names & {"mel_norm", *CONVOLUTIONS, "trunk"}:
        stage2.get_layer(name).set_weights(stage1.get_layer(name).get_weights())
    if not any(name.startswith("head_dense") for name in names):
        kernel, bias = stage1.get_layer("probabilities").get_weights()
        rows = stage2.get_layer("probabilities").kernel.shape[0]
        components = np.zeros((rows - len(kernel), kernel.shape[1]), kernel.dtype)
        stage2.get_layer("probabilities").set_weights([np.concatenate([kernel, components]), bias])


def save_trunk(
    trunk: keras.Model, path: str | Path, *, pretrained_on: str = "", hidden: provenance.Hidden | None = None
) -> None:
    """Write a trunk's weights as a `.weights.h5` file that `load_trunk_weights` reads.

    `pretrained_on` is the dataset they were trained on, `hidden` the first layer of the head that was trained with
    them; the file then keeps both (`provenance`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras insists on the ending .weights.h5, so the file is written under its own name in a folder beside it.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        trunk.save_weights(part)
        if pretrained_on:
            provenance.record(part, pretrained_on, hidden)
        part.replace(path)


def save_network(network: keras.Model, path: str | Path) -> None:
    """Write a network's weights as a `.weights.h5` file, without the state of the optimiser it was trained with."""
    # Keras writes the name into the file, and would count the models of this process for it.
    keras.Model(network.inputs, network.outputs, name=network.name).save_weights(str(path))


def trained_bounds(folder: str | Path) -> tuple[int, int]:
    """Shortest and longest T, in frames, that a network was trained at: from the `summary.json` of its folder."""
    path = Path(folder) / "summary.json"
    try:
        shortest, longest = files.read_json(path)["bounds"]
    except (KeyError, TypeError, ValueError) as error:
        raise FsatError(f"{path}: does not hold the training's bounds. Run `dvc repro`.") from error
    return int(shortest), int(longest)


def load_network(folder: str | Path, *, labels: Sequence[str], into: keras.Model | None = None) -> keras.Model:
    """Network of a folder that training wrote: built as its `summary.json` says, filled from `model.weights.h5`.

    A network `into`, of the same shape, is filled instead of a fresh one. `FsatError` if it was trained on other labels
    than `labels`, a file is missing or broken, or Keras runs on another version of JAX than in training.
    """
    folder = Path(folder)
    summary = files.read_json(folder / "summary.json")
    check_labels(summary.get("labels"), labels, network=str(folder))
    trained, running = summary.get("jax"), keras_backend.jax_version()
    if running and trained != running:
        raise FsatError(
            f"{folder}: trained with {f'JAX {trained}' if trained else 'another backend'}, but this is JAX {running}, "
            "which gives other bytes. Install that one, or train the fold anew with "
            f"`dvc repro --single-item --force {folder.parent.name}@{folder.name.removeprefix('fold')}`."
        )
    network = into or build_network(**summary["network"])
    try:
        network.load_weights(str(folder / "model.weights.h5"))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FsatError(f"{folder}/model.weights.h5: cannot be loaded ({reason}). Run `dvc repro`.") from error
    return network
