"""Trained networks, filters, projection, labels, scores -> `data/bundle/`: all that tagging needs, in one folder."""

import os
from functools import partial
from pathlib import Path

from fsat.core import files, fold_folders, params
from fsat.core.errors import FsatError
from fsat.core.network import output_labels
from fsat.core.stage import run
from fsat.scoring.names import STAGES, SUBMISSION, listed
from fsat.scoring.unknown import NEIGHBOURS
from fsat.tagger import bundle, bundler


def set_aside() -> None:
    """Move folders of folds that are not in `folds.ids` to `state/other_folds/`."""
    p = params.read()
    for stage in STAGES:
        aside = Path("state/other_folds/models", stage)
        for line in fold_folders.set_aside_other_folds(Path("data/models", stage), p.folds.ids, aside, stage=stage):
            print(line)


def main() -> None:
    """Bundle the folds of `folds.ids`."""
    p = params.read()
    from fsat.networks import onnx_export

    chosen, regression = files.read_json("data/models.json")["test"], files.read_npz("data/baseline.npz")
    if chosen not in (["stage2"], ["stage2", "statistics"]):
        raise FsatError(
            f"a bundle holds stage 2, alone or with statistics, and the submission is {listed(chosen)}. "
            "Set ensemble.models to one of these."
        )
    trunk = (p.model.weights, p.model.backbone, p.model.width, p.mel.n_mels)
    convert_trunk = partial(onnx_export.convert_trunk, *trunk, views=("pooled",))
    models = Path("data/models")
    facts, calibration = files.read_json("metrics/data.json"), files.read_json("metrics/calibration.json")
    temperature, threshold = calibration["temperature"], calibration["unknown"]["threshold"]
    # JSON has no NaN: a cost that a model does not have is left out.
    rows = [row.dropna().to_dict() for _, row in files.read_csv("metrics/models.csv").astype(object).iterrows()]
    written = bundler.write(
        "data/bundle",
        models=models,
        convert=onnx_export.convert,
        convert_trunk=convert_trunk,
        folds=sorted(p.folds.ids),
        filters="data/filters",
        projection="data/pca/projection.npz",
        baseline={name: regression[f"statistics.{name}"] for name in ("weights", "bias")},
        baseline_weight=float("statistics" in chosen),
        labels=output_labels(files.read_csv("data/folds.csv")),
        preprocessing={"audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral},
        passes={"seed": p.seed, "step": p.crop.step, "lengths": p.tta.lengths, "tries": p.tta.tries},
        calibration={"stage1": temperature["stage1"], "stage2": temperature[SUBMISSION]},
        unknown={"threshold": threshold, "neighbours": NEIGHBOURS, "keep": p.unknown.keep},
        references="data/predictions",
        select=p.train.select,
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
