"""Stage 1 of one fold: the mel network, from initial weights -> `data/models/stage1/fold<k>/`."""

from pathlib import Path

from fsat.core import files, fold_folders, keras_backend, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import batches, examples, frames


def main(fold: str) -> None:
    """Train on all folds but `fold`, which is held out."""
    p = params.read()
    out = Path(f"data/models/stage1/fold{fold}")
    if not p.train.stage1.run:
        fold_folders.write_empty(out, "train.stage1.run is false")
        return
    folds = files.read_csv("data/folds.csv")
    if not fold_folders.existing([int(fold)], folds):
        fold_folders.write_empty(out, f"there is no fold {fold} (see `dvc repro folds`)")
        return
    # Within AVX2 oneDNN has no half precision.
    keras_backend.use(p.train.backend, portable=p.train.portable and p.train.precision == "float32")
    from fsat.networks import model, training

    store = frames.open_frames("data/mel/train", limits=MEL_STYLES[p.mel.style].limits)
    learn, heldout, labels = examples.split_fold(store, folds, int(fold))
    network = {
        "backbone": p.model.backbone, "width": p.model.width, "batchnorm_momentum": p.model.batchnorm_momentum,
        "freeze_batchnorm": p.model.freeze_batchnorm, "head": p.model.head,
    }  # fmt: skip
    recipe = training.Recipe(
        seed=p.seed, stage="stage1", fold=int(fold), augment=p.augment, alpha=p.mixup.alpha,
        bounds=batches.length_range(store.lengths, p.crop.percentiles, step=p.crop.step), crop_step=p.crop.step,
        schedule=p.train.stage1, plateau=p.train.plateau, batch_size=p.train.batch_size, precision=p.train.precision,
        deterministic=p.train.deterministic, class_weight=p.train.class_weight, select=p.train.select,
        validate_every=p.train.validate_every, validation_lengths=p.train.validation_lengths,
    )  # fmt: skip
    training.train_fold(
        network,
        lambda network: model.load_trunk_weights(network.get_layer("trunk"), p.model.weights),
        learn,
        heldout,
        recipe,
        labels=labels,
        inputs=[*sorted(Path("data/mel/train").iterdir()), Path("data/folds.csv"), Path(p.model.weights)],
        state_folder=Path("state/training"),
        out=out,
    )


if __name__ == "__main__":
    run(main)
