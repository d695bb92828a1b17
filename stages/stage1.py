"""Stage 1 of one fold: the mel network, from initial weights -> `data/models/stage1/fold<k>/`."""

from pathlib import Path

from fsat.core import files, keras_backend, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import batches, examples, frames


def main(fold: str) -> None:
    """Train on all folds but `fold`, which is held out."""
    p = params.read(
        "seed", "mel.style", "crop", "augment", "mixup.alpha", "model", "train.backend", "train.batch_size",
        "train.precision", "train.deterministic", "train.class_weight", "train.select", "train.validate_every",
        "train.validation_lengths", "train.trunk_rate", "train.trained_share", "train.stage1",
    )  # fmt: skip
    keras_backend.use(p.train.backend)
    from fsat.networks import model, training

    store = frames.open_frames("data/mel/train", limits=MEL_STYLES[p.mel.style].limits)
    learn, heldout, _ = examples.split_fold(store, files.read_csv("data/folds.csv"), int(fold))
    training.train_fold(
        p.model,
        lambda network: model.load_trunk_weights(network.get_layer("trunk"), p.model.weights),
        learn,
        heldout,
        training.Recipe(
            seed=p.seed,
            stage="stage1",
            fold=int(fold),
            bounds=batches.length_range(store.lengths, p.crop.percentiles, step=p.crop.step),
            crop=p.crop,
            alpha=p.mixup.alpha,
            augment=p.augment,
            settings=p.train,
            schedule=p.train.stage1,
        ),
        inputs=[*sorted(Path("data/mel/train").iterdir()), Path("data/folds.csv"), Path(p.model.weights)],
        state_folder=Path("state/training"),
        out=Path(f"data/models/stage1/fold{fold}"),
    )


if __name__ == "__main__":
    run(main)
