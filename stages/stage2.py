"""Stage 2 of one fold: mel + PCA, the trunk from stage 1 of the same fold -> `data/models/stage2/fold<k>/`."""

from pathlib import Path

from fsat.core import files, keras_backend, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import examples, frames


def main(fold: str) -> None:
    """Train on all folds but `fold`, which is held out."""
    p = params.read(
        "seed", "mel.style", "crop.step", "augment", "mixup.alpha", "mixup.stage2_factor", "model.backbone",
        "model.width", "model.batchnorm_momentum", "model.freeze_batchnorm", "model.head", "train.backend",
        "train.batch_size", "train.precision", "train.deterministic", "train.class_weight", "train.select",
        "train.validate_every", "train.validation_lengths", "train.trunk_rate", "train.trained_share",
        "train.stage2",
    )  # fmt: skip
    keras_backend.use(p.train.backend)
    from fsat.networks import model, training

    stage1 = Path(f"data/models/stage1/fold{fold}")
    store, components = (
        frames.open_frames("data/mel/train", limits=MEL_STYLES[p.mel.style].limits),
        files.read_parquet("data/pca/train.parquet"),
    )
    folds = files.read_csv("data/folds.csv")
    learn, heldout, _ = examples.split_fold(store, folds, int(fold), components=components)
    training.train_fold(
        p.model,
        lambda network: model.transfer(model.load_network(stage1), network),
        learn,
        heldout,
        training.Recipe(
            seed=p.seed,
            stage="stage2",
            fold=int(fold),
            bounds=model.trained_bounds(stage1),
            crop=p.crop,
            alpha=p.mixup.alpha * p.mixup.stage2_factor,
            augment=p.augment,
            settings=p.train,
            schedule=p.train.stage2,
        ),
        inputs=[
            *sorted(Path("data/mel/train").iterdir()),
            Path("data/pca/train.parquet"),
            Path("data/folds.csv"),
            stage1 / "model.weights.h5",
            stage1 / "summary.json",
        ],
        state_folder=Path("state/training"),
        out=Path(f"data/models/stage2/fold{fold}"),
    )


if __name__ == "__main__":
    run(main)
