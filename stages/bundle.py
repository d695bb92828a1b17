"""Trained networks, projection, labels, scores -> `data/bundle/`: all that tagging needs, in one folder."""

import os
from pathlib import Path

from fsat.core import files, params
from fsat.core.stage import run
from fsat.scoring import ensemble
from fsat.tagger import bundle, bundler


def main() -> None:
    """Bundle the folds of `folds.ids`; those of other folds are moved to `state/other_folds/`."""
    p = params.read(
        "seed", "dataset.path", "audio", "trim", "mel", "spectral", "folds.ids", "crop.step", "train.select",
        "tta.lengths", "tta.tries", "ensemble.baseline_weight",
    )  # fmt: skip
    from fsat.networks import onnx_export

    models = Path("data/models")
    facts = files.read_json("metrics/data.json")
    for stage in bundle.STAGES:
        aside = Path("state/other_folds/models", stage)
        for line in ensemble.set_aside_other_folds(models / stage, p.folds.ids, aside):
            print(line)
    written = bundler.write(
        "data/bundle",
        models=models,
        convert=onnx_export.convert,
        folds=sorted(p.folds.ids),
        projection="data/pca/projection.npz",
        baseline="data/baseline.npz",
        baseline_weight=p.ensemble.baseline_weight,
        labels=sorted(files.read_csv("data/folds.csv")["corrected"].unique()),
        preprocessing={"audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral},
        passes={"seed": p.seed, "step": p.crop.step, "lengths": p.tta.lengths, "tries": p.tta.tries},
        select=p.train.select,
        dataset={
            # The last part of the path alone: where data lie on this machine is nobody's business.
            "name": Path(p.dataset.path).name,
            "synthetic": facts["synthetic"],
            "fingerprint": bundle.file_facts(Path("data/index.csv")).sha256,
            "facts": facts,
        },
        scores=files.read_json("metrics/map3.json") | {"baseline": files.read_json("metrics/baseline.json")},
    )
    print(f"{written.folder}: {len(written.manifest.files)} files. Try: fsat tag clip.wav")


if __name__ == "__main__":
    # The converter reads TensorFlow's graphs, whatever backend has trained: the weight files are the same.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    run(main)
