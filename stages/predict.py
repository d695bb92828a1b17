"""All passes of one fold's networks over test and held-out clips -> `data/predictions/fold<k>/`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fsat.core import files, fold_folders, keras_backend, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.network import output_labels
from fsat.core.stage import run
from fsat.inputs import batches, examples, frames
from fsat.inputs.passes import Passes, mean_outputs
from fsat.scoring import unknown


def main(fold: str) -> None:
    """Mean log p over tta.lengths x tta.tries passes, and how unlike the clips the fold learned from each clip is."""
    p = params.read()
    stages = [stage for stage, runs in (("stage1", p.train.stage1.run), ("stage2", p.train.stage2.run)) if runs]
    folds = files.read_csv("data/folds.csv")
    is_there = bool(fold_folders.existing([int(fold)], folds))
    if not stages or not is_there:
        print(f"{'no network is trained' if is_there else f'there is no fold {fold}'}: the tables have no rows")
        labels = output_labels(folds)
        keys = pd.DataFrame({"model": [], "split": [], "fname": []}, dtype=str)
        write(fold, keys.join(pd.DataFrame(columns=labels, dtype=float)), keys.assign(score=0.0), {})
        return
    keras_backend.use(p.train.backend, portable=p.train.portable)
    from fsat.networks import backend, model, prediction

    backend.prepare(p.seed)
    folders = {stage: f"data/models/{stage}/fold{fold}" for stage in stages}
    limits = MEL_STYLES[p.mel.style].limits
    stores = {split: frames.open_frames(f"data/mel/{split}", limits=limits) for split in ("train", "test")}
    components = {split: files.read_parquet(f"data/pca/{split}.parquet") for split in stores}
    learned, heldout, labels = examples.split_fold(stores["train"], folds, int(fold), components=components["train"])
    test = examples.make_clips(stores["test"], stores["test"].fnames, components=components["test"])
    networks = {stage: model.load_network(folder, labels=labels) for stage, folder in folders.items()}
    predictors = {stage: prediction.predictor(network, embeddings=True) for stage, network in networks.items()}
    bounds = model.trained_bounds(folders["stage1"])
    passes = Passes(batches.fixed_lengths(bounds, p.tta.lengths, step=p.crop.step), p.tta.tries)
    # One pass at the middle length is enough for clips that others are only compared with.
    once = Passes([passes.lengths[len(passes.lengths) // 2]], 1)
    found = {
        part: mean_outputs(
            predictors,
            clips,
            some,
            n_labels=len(labels),
            batch_size=p.tta.batch_size,
            key=(p.seed, "predict", int(fold), part),
            name=f"fold {fold}, {part}",
        )
        for part, clips, some in (("learned", learned, once), ("test", test, passes), ("heldout", heldout, passes))
    }
    own_labels = [labels[number] for number in learned.targets.argmax(axis=1)]
    known = {name: unknown.reference(outputs.embeddings, own_labels) for name, outputs in found["learned"].items()}
    tables, scores = [], []
    for split, clips in (("test", test), ("heldout", heldout)):
        for name, outputs in found[split].items():
            keys = pd.DataFrame({"model": name, "split": split, "fname": clips.fnames})
            tables.append(keys.join(pd.DataFrame(outputs.log_probabilities, columns=labels)))
            scores.append(keys.assign(score=unknown.score(outputs.embeddings, known[name])))
    write(fold, pd.concat(tables, ignore_index=True), pd.concat(scores, ignore_index=True), known)


def write(fold: str, predictions: pd.DataFrame, scores: pd.DataFrame, known: Mapping[str, np.ndarray]) -> None:
    """Write what is said of the clips, their scores as `unknown`, and the embeddings that gave these, by network."""
    with files.atomic_folder(f"data/predictions/fold{fold}") as part:
        files.write_parquet(part / "predictions.parquet", predictions)
        files.write_parquet(part / "unknown.parquet", scores)
        files.write_npz(part / "reference.npz", **known)


if __name__ == "__main__":
    run(main)
