"""Stage 2 of one fold: mel + PCA, the trunk from stage 1 of the same fold -> `data/models/stage2/fold<k>/`."""

from pathlib import Path

from fsat.core import files, fold_folders, keras_backend, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import examples, frames


def main(fold: str) -> None:
    """Train on all folds but `fold`, which is held out."""
    p = params.read()
    out = Path(f"data/models/stage2/fold{fold}")
    if not p.train.stage2.run:
        fold_folders.write_empty(out, "train.stage2.run is false")
        return
    folds = files.read_csv("data/folds.csv")
    if not fold_folders.existing([int(fold)], folds):
        fold_folders.write_empty(out, f"there is no fold {fold} (see `dvc repro folds`)")
        return
    # Within AVX2 oneDNN has no half precision.
    keras_backend.use(p.train.backend, portable=p.train.portable and p.train.precision == "float32")
    from fsat.networks import model, training

    stage1 = Path(f"data/models/stage1/fold{fold}")
    store = frames.open_frames("data/mel/train", limits=MEL_STYLES[p.mel.style].limits)
    components = files.read_parquet("data/pca/train.parquet")
    learn, heldout, labels = examples.split_fold(store, folds, int(fold), components=components)
    network = {
        "backbone": p.model.backbone, "width": p.model.width, "batchnorm_momentum": p.model.batchnorm_momentum,
        "freeze_batchnorm": p.model.freeze_batchnorm, "head": p.model.head,
    }  # fmt: skip
    recipe = training.Recipe(
        seed=p.seed, stage="stage2", fold=int(fold), augment=p.augment, alpha=p.mixup.alpha * p.mixup.stage2_factor,
        bounds=model.trained_bounds(stage1), crop_step=p.crop.step,
        schedule=p.train.stage2, plateau=p.train.plateau, batch_size=p.train.batch_size, precision=p.train.precision,
        deterministic=p.train.deterministic, class_weight=p.train.class_weight, select=p.train.select,
        validate_every=p.train.validate_every, validation_lengths=p.train.validation_lengths,
    )  # fmt: skip
    training.train_fold(
        network,
        lambda network: model.transfer(model.load_network(stage1, labels=labels), network),
        learn,
        heldout,
        recipe,
        labels=labels,
        inputs=[
            *sorted(Path("data/mel/train").iterdir()),
            *(Path("data/pca/train.parquet"), Path("data/folds.csv")),
            *(stage1 / "model.weights.h5", stage1 / "summary.json"),
        ],
        state_folder=Path("state/training"),
        out=out,
    )


if __name__ == "__main__":
    run(main)
