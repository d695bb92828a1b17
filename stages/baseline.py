"""Components and embeddings -> `data/baseline.{parquet,npz}`, `metrics/baseline.json`: what needs no training."""

import pandas as pd

from fsat.core import files, params
from fsat.core.stage import run
from fsat.scoring import baseline, outcomes, summary
from fsat.scoring.names import BASELINE, STATISTICS


def main() -> None:
    """Logistic regression on each feature set, held out by the folds of `folds.ids`; the best set is the baseline."""
    p = params.read("folds.ids")
    index, folds = files.read_csv("data/index.csv"), files.read_csv("data/folds.csv")
    splits = ("train", "test")
    features = {STATISTICS: {split: files.read_parquet(f"data/pca/{split}.parquet") for split in splits}}
    embeddings = {split: files.read_parquet(f"data/embeddings/{split}.parquet") for split in splits}
    if embeddings["train"].shape[1] > 1:  # of a trunk with pre-trained weights
        features["embeddings"] = embeddings
        features["both"] = {split: embeddings[split].merge(features[STATISTICS][split]) for split in splits}
    predictions = {
        name: baseline.predict(tables, folds, p.folds.ids, choose_penalty=name != STATISTICS)
        for name, tables in features.items()
    }
    scores = {}
    for name, table in predictions.items():
        heldout, test = (
            outcomes.outcome(table, index, split=split, stage=BASELINE).clips for split in ("heldout", "test")
        )
        scores[name] = summary.scores(heldout, test)
    found = baseline.table(scores)
    fused = predictions[STATISTICS].assign(stage=STATISTICS)
    files.write_parquet("data/baseline.parquet", pd.concat([predictions[found["best"]], fused], ignore_index=True))
    files.write_npz("data/baseline.npz", **baseline.coefficients(features[STATISTICS]["train"], folds))
    files.write_json("metrics/baseline.json", found)
    print(f"MAP@3 of the baseline ({found['best']}): held-out clips {found['cv']:.4f}", end="")
    print(f", test clips {found['test']['all']:.4f}" if found["test"] else "")


if __name__ == "__main__":
    run(main)
