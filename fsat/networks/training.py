"""Training of one network on one fold: phase by phase, validated on the held-out clips, resumable after any epoch."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from fsat.core import files, guard, keras_backend, params, seeds
from fsat.core.errors import FsatError
from fsat.core.numeric import log_probabilities
from fsat.inputs import batches
from fsat.inputs.batches import Batch
from fsat.inputs.examples import Examples
from fsat.networks import backend, checkpoint, head, schedule
from fsat.networks.model import build_network, input_averages, save_network
from fsat.scoring import metrics

Predictor = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """All numbers of one training besides the network. What has no comment is the parameter of that name."""

    seed: int  # with stage and fold the key of every random draw
    stage: str
    fold: int
    bounds: tuple[int, int]  # shortest and longest T: `batches.length_range` of all training clips
    crop_step: int  # T is a multiple of it
    alpha: float  # of mixup; 0 leaves it out
    augment: params.Augment
    schedule: params.TrainStage  # of this stage
    plateau: params.Plateau
    batch_size: int
    precision: str
    deterministic: bool
    class_weight: str
    select: str
    validate_every: int
    validation_lengths: int


def train(model: keras.Model, training: Examples, heldout: Examples, recipe: Recipe, *, state: Path) -> pd.DataFrame:
    """Train a network to the end of its schedule; it then holds the weights its last phase hands on.

    With `frozen.share` above 0 it holds that share of the weights after phase 0, and the rest of the fine-tuned ones:
    it fits clips like those it learned from less closely, and others better (Wortsman et al., Robust fine-tuning of
    zero-shot models, 2022). Averages of what goes in stay as fine-tuned. The history is of the fine-tuned weights.

    Parameters
    ----------
    model : keras.Model
        With its initial weights; compiled here (Adam, categorical cross-entropy).
    training, heldout : Examples
        Clips to learn from, and to validate on.
    state : Path
        File the training is kept in after each epoch, and resumed from if it is there; see `checkpoint.fingerprint`.

    Returns
    -------
    pd.DataFrame
        One row an epoch: epoch (from 1), phase, learning_rate (of its last batch), loss, val_loss, val_map3,
        val_accuracy (empty where the epoch was not validated). It holds no times.

    Raises
    ------
    FsatError
        If the loss is no longer a number.
    """
    model.compile(optimizer=backend.adam(), loss=keras.losses.CategoricalCrossentropy())
    model.optimizer.build(model.trainable_variables)
    step = backend.training_step(model, crop_step=recipe.crop_step)
    predict = backend.predictor(model)
    phases = schedule.phases(recipe.schedule, recipe.plateau)
    clip_weights = class_weights(training.targets, recipe.class_weight)
    progress, best, start = checkpoint.Progress(), model.get_weights(), list[np.ndarray]()
    if state.is_file():
        try:
            progress, best, start = checkpoint.restore(state, model)
            print(f"resumed after epoch {len(progress.history)}", flush=True)
        except FsatError as error:
            print(f"starting afresh: {error}", flush=True)
    started, resumed_at = time.monotonic(), len(progress.history)

    while progress.phase < len(phases):
        phase = phases[progress.phase]
        phase.restore(progress.phase_state)
        while progress.epoch < phase.max_epochs and not phase.ended:
            if phase.name == "frozen":
                loss, rate = _fit_head(model, training, clip_weights, recipe, phase.parameters), phase.parameters.lr
            else:
                loss, rate = _run_epoch(model, step, training, clip_weights, recipe, phase, progress)
            number = len(progress.history) + 1
            row: dict[str, Any] = {"epoch": number, "phase": phase.name, "learning_rate": rate, "loss": loss}
            progress.epoch += 1
            if progress.epoch % recipe.validate_every == 0 or progress.epoch == phase.max_epochs:
                row |= validate(predict, heldout, recipe)
                phase.validated(row["val_loss"])
                if row["val_loss"] < progress.best_loss:
                    progress.best_loss, best = row["val_loss"], model.get_weights()
            progress.history.append(row)
            progress.phase_state = phase.state()
            seconds = (time.monotonic() - started) / (number - resumed_at)
            left = sum(later.max_epochs for later in phases[progress.phase :]) - progress.epoch
            print(f"{_line(row)}  {seconds:.1f} s/epoch, at most {seconds * left / 60:.0f} min left", flush=True)
            if not (math.isfinite(loss) and math.isfinite(row.get("val_loss", 0.0))):
                raise FsatError(
                    f"Training diverged in epoch {row['epoch']} of {recipe.stage}, fold {recipe.fold}: the loss is "
                    f"{loss}, the validation loss {row.get('val_loss', 'not computed')}. "
                    f"Lower the learning rate (train.{recipe.stage}), or use train.precision: float32."
                )
            if progress.epoch < phase.max_epochs and not phase.ended:
                checkpoint.keep(state, model, best, start, progress)
        if recipe.select == "best":
            model.set_weights(best)
        progress.phase, progress.epoch, progress.phase_state = progress.phase + 1, 0, {}
        progress.best_loss, best = math.inf, model.get_weights()
        if phase.name == "frozen" and phase.parameters.share:
            start = best
        checkpoint.keep(state, model, best, start, progress)
    if start:
        share, as_trained = recipe.schedule.frozen.share, input_averages(model)
        shares = [0.0 if id(variable) in as_trained else share for variable in model.weights]
        both = zip(shares, start, model.get_weights(), strict=True)
        model.set_weights([part * begin + (1 - part) * end for part, begin, end in both])
    columns = ["epoch", "phase", "learning_rate", "loss", "val_loss", "val_map3", "val_accuracy"]
    return pd.DataFrame(progress.history, columns=columns)


def _fit_head(
    model: keras.Model, training: Examples, clip_weights: np.ndarray, recipe: Recipe, phase: params.Frozen
) -> float:
    """Phase 0: the head learns from embeddings of the frozen trunk; returns its last loss."""
    trunk, top = head.split_at_embedding(model)
    embed = backend.predictor(trunk)
    embeddings = np.stack(_fixed_crops(lambda inputs: embed({"mel": inputs["mel"]}), training, recipe, "embedding"))
    if training.components is not None:
        head.weigh_components(model.get_layer("pca_norm"), embeddings, training.components)
    weights = loss_weights(training.targets, training.weights, clip_weights)
    key = (recipe.seed, recipe.stage, recipe.fold)
    return head.fit(top, embeddings, training, weights, phase, batch_size=recipe.batch_size, key=key)


def _run_epoch(
    model: keras.Model,
    step: Callable[[Batch, np.ndarray], Callable[[], float]],
    training: Examples,
    clip_weights: np.ndarray,
    recipe: Recipe,
    phase: schedule.Phase,
    progress: checkpoint.Progress,
) -> tuple[float, float]:
    """One pass over the training clips; returns mean loss and last learning rate."""
    n_batches = math.ceil(len(training) / recipe.batch_size)
    model.reset_metrics()
    rate, loss = math.nan, lambda: math.nan
    plan = epoch_batches(training, recipe, epoch=len(progress.history))
    for number, batch in enumerate(batches.prefetched(plan)):
        rate = phase.rate(progress.epoch, number, n_batches)
        model.optimizer.learning_rate = rate
        loss = step(batch, loss_weights(batch.targets, batch.weights, clip_weights))
    return loss(), rate


def epoch_batches(examples: Examples, recipe: Recipe, *, epoch: int) -> Iterator[Batch]:
    """The batches of one epoch: every clip once, the last batch filled up with clips from the first.

    Partners for mixup come from an independent permutation. Each batch depends on (seed, stage, fold, epoch, batch)
    alone.
    """
    size = min(recipe.batch_size, len(examples))
    n_batches = math.ceil(len(examples) / size)
    key = (recipe.seed, recipe.stage, recipe.fold, "epoch", epoch)
    rng = seeds.generator(*key)
    order, partners = (np.resize(rng.permutation(len(examples)), n_batches * size) for _ in range(2))
    for number in range(n_batches):
        chosen = slice(number * size, (number + 1) * size)
        yield batches.training_batch(
            examples,
            order[chosen],
            partners[chosen],
            bounds=recipe.bounds,
            step=recipe.crop_step,
            augment=recipe.augment,
            alpha=recipe.alpha,
            rng=seeds.generator(*key, number),
        )


def validate(predict: Predictor, heldout: Examples, recipe: Recipe) -> dict[str, float]:
    """Cross-entropy, MAP@3 and accuracy on fixed crops of the held-out clips at all test lengths.

    The loss is the mean over clips and lengths; MAP@3 and accuracy are those of the geometric mean over lengths.
    """
    outputs = _fixed_crops(predict, heldout, recipe, "validation")
    total = np.zeros(heldout.targets.shape)
    for output in outputs:
        total += log_probabilities(output)
    mean = total / len(outputs)
    labels = heldout.targets.argmax(axis=1)
    return {
        "val_loss": float(-(heldout.targets * mean).sum() / len(heldout)),
        "val_map3": metrics.map_at_k(mean, labels),
        "val_accuracy": metrics.accuracy(mean, labels),
    }


def _fixed_crops(predict: Predictor, clips: Examples, recipe: Recipe, purpose: str) -> list[np.ndarray]:
    """What a network gives for one crop of each clip, (n, ...), at each validation length; the same in every epoch."""
    outputs = []
    for n_frames in batches.fixed_lengths(recipe.bounds, recipe.validation_lengths, step=recipe.crop_step):
        key = (recipe.seed, recipe.stage, recipe.fold, purpose, n_frames)
        crops = batches.crop_pass(clips, n_frames, recipe.batch_size, key)
        outputs.append(np.concatenate([predict(inputs) for inputs in batches.prefetched(crops)]))
    return outputs


def loss_weights(targets: np.ndarray, weights: np.ndarray | None, of_classes: np.ndarray) -> np.ndarray:
    """Weight of each clip in the loss, float32 (n,): its own (1 where `weights` is None) times that of its class."""
    by_class: np.ndarray = targets @ of_classes
    return by_class if weights is None else weights * by_class


def class_weights(targets: np.ndarray, kind: str) -> np.ndarray:
    """Weight of each class in the loss, float32 (C,): ones, or n / (C x clips of the class) for "balanced"."""
    if kind == "none":
        return np.ones(targets.shape[1], dtype=np.float32)
    counts = targets.sum(axis=0)
    return np.where(counts > 0, len(targets) / (len(counts) * np.maximum(counts, 1)), 0).astype(np.float32)


# One fold, start to end ---------------------------------------------------------------------------------------------


def train_fold(
    network: Mapping[str, Any],
    init_weights: Callable[[keras.Model], None],
    training: Examples,
    heldout: Examples,
    recipe: Recipe,
    *,
    labels: Sequence[str],
    inputs: Iterable[Path],
    state_folder: Path,
    out: Path,
) -> None:
    """Train one network on one fold and write its folder: `model.weights.h5`, `history.csv`, `summary.json`.

    The folder is kept in `state_folder`, too, until `dvc.lock` names it: if the stage fails after its last epoch, or
    DVC does, the next run takes it from there. With ``FSAT_FRESH=1``, and where it is recorded already, a training
    starts at its first epoch.

    Parameters
    ----------
    network : mapping
        Arguments of `build_network` that do not follow from the clips: backbone, width, batchnorm_momentum,
        freeze_batchnorm, head.
    init_weights : function
        Gives the fresh network its initial weights.
    labels : sequence of str
        In the order of the network's outputs.
    inputs : paths
        Files the result depends on besides the code: see `checkpoint.fingerprint`.
    """
    name = f"{recipe.stage}-fold{recipe.fold}"
    # Kept in the summary, so that predicting with the weights needs no parameter file.
    network = {
        **network,
        "n_mels": training.store.frames.shape[1],
        "n_classes": training.targets.shape[1],
        "n_components": training.n_components,
    }
    with checkpoint.only_one(state_folder, name):
        kept = state_folder / f"{name}-{checkpoint.fingerprint(inputs, (network, recipe))}"
        state = kept.with_suffix(".npz")
        is_fresh = os.environ.get("FSAT_FRESH") == "1"
        if is_fresh or (kept.is_dir() and guard.is_recorded(f"{recipe.stage}@{recipe.fold}", kept)):
            guard.remove(kept)
        if is_fresh:
            guard.remove(state)
        if kept.is_dir():
            print(f"{name}: its last training was finished but not recorded; taken from {kept}", flush=True)
        else:
            key = (recipe.seed, recipe.stage, recipe.fold)
            backend.prepare(*key, precision=recipe.precision, deterministic=recipe.deterministic)
            model = build_network(**network)
            init_weights(model)
            for stage in guard.running:  # now that all is read: an input that has changed ends it before hours of work
                guard.compare(stage)
            lengths = "T {} to {} frames".format(*recipe.bounds)
            print(f"{name}: {len(training)} clips to learn from, {len(heldout)} held out, {lengths}", flush=True)
            history = train(model, training, heldout, recipe, state=state)
            with files.atomic_folder(kept) as part:
                save_network(model, part / "model.weights.h5")
                files.write_csv(part / "history.csv", history)
                summary = {
                    "stage": recipe.stage,
                    "fold": recipe.fold,
                    "network": network,
                    "labels": list(labels),
                    "parameters": model.count_params(),
                    "bounds": list(recipe.bounds),
                    "clips": {"training": len(training), "heldout": len(heldout)},
                    "epochs": len(history),
                }
                if jax := keras_backend.jax_version():
                    summary["jax"] = jax
                files.write_json(part / "summary.json", summary)
        with files.atomic_folder(out) as part:
            shutil.copytree(kept, part, dirs_exist_ok=True)
        for other in state_folder.glob(f"{name}-*"):
            if other != kept:
                guard.remove(other)


def _line(row: dict[str, Any]) -> str:
    """What the console shows of an epoch."""
    text = f"epoch {row['epoch']:4d}  {row['phase']:13s}  rate {row['learning_rate']:.1e}  loss {row['loss']:6.3f}"
    return text + (f"  val_loss {row['val_loss']:6.3f}  val_map3 {row['val_map3']:.3f}" if "val_loss" in row else "")
