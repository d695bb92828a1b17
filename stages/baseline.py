"""Components and embeddings -> `data/baseline.{parquet,npz}`, `metrics/baseline.json`: what needs no training."""

import pandas as pd

from fsat.core import files, params
from fsat.core.stage import run
from fsat.scoring import baseline, outcomes, summary
from fsat.scoring.names import BASELINE, FUSED


def main() -> None:
    """Logistic regression on each feature set, held out by the folds of `folds.ids`.

    The set with the best score is the baseline; the largest one is what `ensemble` fuses with stage 2.
    """
    p = params.read()
    index, folds = files.read_csv("data/index.csv"), files.read_csv("data/folds.csv")
    if "group" in index:
        folds = folds.merge(index.loc[index["split"] == "train", ["fname", "group"]])
    splits = ("train", "test")
    features = {"statistics": {split: files.read_parquet(f"data/pca/{split}.parquet") for split in splits}}
    embeddings = {split: files.read_parquet(f"data/embeddings/{split}.parquet") for split in splits}
    if embeddings["train"].shape[1] > 1:  # of a trunk with pre-trained weights
        features["embeddings"] = embeddings
        features["both"] = {split: embeddings[split].merge(features["statistics"][split]) for split in splits}
    predictions = {
        name: baseline.predict(tables, folds, p.folds.ids, choose_penalty=name != "statistics")
        for name, tables in features.items()
    }
    scores = {}
    for name, table in predictions.items():
        heldout, test = (
            outcomes.outcome(table, index, split=split, stage=BASELINE).clips for split in ("heldout", "test")
        )
        scores[name] = summary.scores(heldout, test)
    found = baseline.table(scores)
    largest = list(features)[-1]
    fused = predictions[largest].assign(stage=FUSED)
    files.write_parquet("data/baseline.parquet", pd.concat([predictions[found["best"]], fused], ignore_index=True))
    coefficients = baseline.coefficients(features[largest]["train"], folds, choose_penalty=largest != "statistics")
    files.write_npz("data/baseline.npz", **coefficients)
    files.write_json("metrics/baseline.json", found)
    print(f"MAP@3 of the baseline ({found['best']}): held-out clips {found['cv']:.4f}", end="")
    print(f", test clips {found['test']['all']:.4f}" if found["test"] else "")


if __name__ == "__main__":
    run(main)
