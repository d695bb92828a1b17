"""Networks, regressions, projection, labels, scores -> `data/bundle/`: all that tagging needs, in one folder."""

import os
from pathlib import Path

import numpy as np

from fsat.core import files, fold_folders, keras_backend, params
from fsat.core.network import output_labels
from fsat.core.stage import run
from fsat.scoring import unknown
from fsat.scoring.names import STAGES
from fsat.tagger import bundle, bundler


def set_aside() -> None:
    """Move folders of folds that are not in `folds.ids` to `state/other_folds/`."""
    p = params.read()
    for stage in STAGES:
        aside = Path("state/other_folds/models", stage)
        for line in fold_folders.set_aside_other_folds(Path("data/models", stage), p.folds.ids, aside, stage=stage):
            print(line)


def main() -> None:
    """Bundle the networks of `folds.ids` that were trained, and the regressions of the submission."""
    p = params.read()
    keras_backend.use()
    from fsat.networks import onnx_export

    models, folds = Path("data/models"), files.read_csv("data/folds.csv")
    ids = fold_folders.existing(p.folds.ids, folds)
    networks = [stage for stage in STAGES if not fold_folders.is_empty(models / stage / f"fold{ids[0]}")]
    facts, calibration = files.read_json("metrics/data.json"), files.read_json("metrics/calibration.json")
    threshold = calibration["unknown"]["threshold"]
    marks = {"threshold": threshold, "neighbours": unknown.NEIGHBOURS, "keep": p.unknown.keep} if threshold else None
    trunk = (p.model.weights, p.model.backbone, p.model.width, p.mel.n_mels)

    def references(embedder: str, fold: int) -> np.ndarray:
        if embedder == unknown.VIEW:
            return unknown.view_reference(files.read_parquet("data/embeddings/train.parquet"), folds)
        return files.read_npz(f"data/predictions/fold{fold}/reference.npz")[embedder]

    # JSON has no NaN: a cost that a model does not have is left out.
    rows = [row.dropna().to_dict() for _, row in files.read_csv("metrics/models.csv").astype(object).iterrows()]
    written = bundler.write(
        "data/bundle",
        chosen=files.read_json("data/models.json")["test"],
        networks=networks,
        models=models,
        convert=onnx_export.convert,
        convert_trunk=lambda path, views: onnx_export.convert_trunk(*trunk, path, views=views),
        folds=ids,
        filters="data/filters",
        projection="data/pca/projection.npz",
        regressions=files.read_npz("data/baseline.npz"),
        labels=output_labels(folds),
        preprocessing={"audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral},
        passes={"seed": p.seed, "step": p.crop.step, "lengths": p.tta.lengths, "tries": p.tta.tries},
        calibration=calibration["temperature"],
        unknown=marks,
        references=references,
        events=files.read_json("metrics/thresholds.json"),
        select=p.train.select if networks else None,
        dataset={
            # Only the last part of the path: the bundle does not say where data lie on this machine.
            "name": Path(p.dataset.path).name,
            "synthetic": facts["synthetic"],
            "fingerprint": bundle.file_facts(Path("data/index.csv")).sha256,
            "facts": facts,
        },
        scores={
            "models": rows,
            "baseline": files.read_json("metrics/baseline.json")["best"],
            "calibration": calibration,
        },
    )
    print(f"{written.folder}: {len(written.manifest.files)} files. Try: fsat tag clip.wav")


if __name__ == "__main__":
    # The converter reads TensorFlow's graphs, whatever backend has trained: the weight files are the same.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    run(main, prepare=set_aside)
