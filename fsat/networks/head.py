"""Phase 0 of a training: the head alone learns, on features of the frozen trunk that are computed once.

The features are those of fixed crops, without augmentation or mixup: the spans of validation, at the validation
lengths. So the phase takes seconds where an epoch of the whole network takes minutes, and fine-tuning starts from a
head that already fits the trunk (Kumar et al., Fine-Tuning can Distort Pretrained Features, 2022).
"""

import math

import keras
import numpy as np

from fsat.core import params, seeds
from fsat.core.errors import FsatError
from fsat.inputs.examples import Examples

# Variance of all components as a multiple of the embedding's, whose trunk has learned from the very same clips.
_VARIANCE_OF_COMPONENTS = 6.0


def split_at_embedding(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """A network as two that share its layers: inputs -> embedding (B, E), and (embedding, pca) -> probabilities.

    The second takes a list: the embedding and, for a network of stage 2, the components.
    """
    pooled = model.get_layer("embedding").output
    mel = {"mel": model.get_layer("mel").output}
    trunk = keras.Model(mel, keras.layers.Activation("linear", dtype="float32")(pooled))
    return trunk, keras.Model([pooled, *(tensor for tensor in model.inputs if tensor.name != "mel")], model.output)


def weigh_components(norm: keras.layers.BatchNormalization, embeddings: np.ndarray, components: np.ndarray) -> None:
    """Let the layer "pca_norm" keep the ratios of the components' variances, which it would make equal.

    The first components, float32 (n, P), say most, so that a head that is held back (`phase.weight_decay`) should hear
    them most. Embeddings are those of `fit`.
    """
    variances = components.var(axis=0)
    wanted = _VARIANCE_OF_COMPONENTS * embeddings.var(axis=1).sum(axis=1).mean()
    norm.gamma.assign(np.sqrt(variances * (wanted / variances.sum())))


def fit(
    head: keras.Model,
    embeddings: np.ndarray,
    examples: Examples,
    clip_weights: np.ndarray,
    phase: params.Frozen,
    *,
    batch_size: int,
    key: tuple[int, str, int],
) -> float:
    """Train the head on the embeddings of all clips and lengths; returns the mean loss of the last epoch.

    AdamW with a rate that falls from ``phase.lr`` to 0 along a cosine. Each epoch depends on `key` (seed, stage, fold)
    and its number alone. Embeddings are float32 (L, n, E), of n clips at L lengths; `clip_weights`, float32 (n,), are
    those in the loss. `FsatError` if the loss is no longer a number.
    """
    n_lengths, n_clips = embeddings.shape[:2]
    rows = embeddings.reshape(n_lengths * n_clips, -1)
    size = min(batch_size, len(rows))
    n_batches = math.ceil(len(rows) / size)
    optimizer = keras.optimizers.AdamW(phase.lr, weight_decay=phase.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    head.compile(optimizer=optimizer, loss=keras.losses.CategoricalCrossentropy())
    loss = math.nan
    for epoch in range(phase.epochs):
        order = np.resize(seeds.generator(*key, "frozen", epoch).permutation(len(rows)), n_batches * size)
        head.reset_metrics()
        for number in range(n_batches):
            which = order[number * size : (number + 1) * size]
            clips = which % n_clips
            inputs = [rows[which], *([] if examples.components is None else [examples.components[clips]])]
            progress = (epoch + number / n_batches) / phase.epochs
            optimizer.learning_rate = phase.lr * 0.5 * (1 + math.cos(math.pi * progress))
            targets, weights = examples.targets[clips], clip_weights[clips]
            loss = float(head.train_on_batch(inputs, targets, weights, return_dict=True)["loss"])
    if not math.isfinite(loss):
        raise FsatError(f"The head diverged on the frozen trunk: the loss is {loss}. Lower the phase's learning rate.")
    return loss
