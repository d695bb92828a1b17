"""All passes of one fold, stage 1 and stage 2, over test and held-out clips -> `data/predictions/fold<k>/`."""

import pandas as pd

from fsat.core import files, keras_backend, params
from fsat.core.stage import run
from fsat.inputs import batches, examples, frames
from fsat.inputs.passes import Passes


def main(fold: str) -> None:
    """Mean log p over tta.lengths x tta.tries passes; test and held-out clips are seen in the same way."""
    p = params.read("seed", "mel.limits", "crop.step", "tta", "train.backend")
    keras_backend.use(p.train.backend)
    from fsat.networks import backend, model, prediction

    backend.prepare(p.seed)
    folders = {stage: f"data/models/{stage}/fold{fold}" for stage in ("stage1", "stage2")}
    networks = {stage: model.load_network(folder) for stage, folder in folders.items()}
    train_store, test_store = (
        frames.open_frames("data/mel/train", limits=p.mel.limits),
        frames.open_frames("data/mel/test", limits=p.mel.limits),
    )
    folds, train_pca = files.read_csv("data/folds.csv"), files.read_parquet("data/pca/train.parquet")
    _, heldout, classes = examples.split_fold(train_store, folds, int(fold), components=train_pca)
    test = examples.make_examples(
        test_store,
        test_store.fnames,
        labels=[],
        classes=classes,
        components=files.read_parquet("data/pca/test.parquet"),
    )
    bounds = model.trained_bounds(folders["stage1"])
    passes = Passes(batches.fixed_lengths(bounds, p.tta.lengths, step=p.crop.step), p.tta.tries)
    tables = []
    for split, clips in (("test", test), ("heldout", heldout)):
        means = prediction.mean_log_probabilities(
            networks,
            clips,
            passes,
            batch_size=p.tta.batch_size,
            key=(p.seed, "predict", int(fold), split),
            name=f"fold {fold}, {split}",
        )
        for stage, values in means.items():
            table = pd.DataFrame(values, columns=classes)
            table.insert(0, "stage", stage)
            table.insert(1, "split", split)
            table.insert(2, "fname", clips.fnames)
            tables.append(table)
    with files.atomic_folder(f"data/predictions/fold{fold}") as part:
        files.write_parquet(part / "predictions.parquet", pd.concat(tables, ignore_index=True))


if __name__ == "__main__":
    run(main)
