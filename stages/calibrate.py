"""Held-out predictions and scores -> `metrics/calibration.json`: temperatures, and thresholds of "none of these"."""

import numpy as np
import pandas as pd

from fsat.core import files, fold_folders, params
from fsat.core.stage import run
from fsat.scoring import calibration, outcomes, unknown
from fsat.scoring.names import SUBMISSION


def main() -> None:
    """Fit on the held-out clips, out of fold; say what it does on them and, where labels exist, on the test clips."""
    p = params.read()
    predictions, index = files.read_parquet("data/predictions.parquet"), files.read_csv("data/index.csv")
    classes = outcomes.class_names(predictions)
    found = {}
    for model in [model for model in ("stage1", SUBMISSION) if (predictions["model"] == model).any()]:
        heldout, test = (
            calibration.scored(outcomes.outcome(predictions, index, split=split, model=model), classes)
            for split in ("heldout", "test")
        )
        found[model] = calibration.calibrate(heldout, test)
    folds = files.read_csv("data/folds.csv")
    ids = fold_folders.existing(p.folds.ids, folds)
    folders = {fold: f"data/predictions/fold{fold}" for fold in ids}
    networks = unknown.combine({fold: files.read_parquet(f"{path}/unknown.parquet") for fold, path in folders.items()})
    views = {split: files.read_parquet(f"data/embeddings/{split}.parquet") for split in ("train", "test")}
    found_in = [table for table in (networks, unknown.of_view(views, folds, ids)) if len(table)]
    scores = pd.concat(found_in, ignore_index=True) if found_in else networks
    headline = calibration.headline(found) | {"unknown": unknown.summary(scores, keep=p.unknown.keep)}
    files.write_parquet("data/unknown.parquet", scores)
    files.write_json("metrics/calibration.json", headline)
    curve = pd.DataFrame(found[SUBMISSION].curve).round(6)
    files.write_csv("metrics/reliability.csv", curve.assign(ideal=np.round(curve["confidence"], 6)))
    for model, value in found.items():
        before, after = value.ece["cv"]
        change = f"expected calibration error {before:.3f} -> {after:.3f} (held-out clips, out of fold)"
        print(f"{model}: temperature {value.temperature:g}, {change}")
    for model, kept in headline["unknown"]["kept"].get("cv", {}).items():
        print(f"{model}: {kept:.0%} of the held-out clips are taken for known")


if __name__ == "__main__":
    run(main)
