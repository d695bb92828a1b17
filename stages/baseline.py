"""Components and embeddings -> `data/baseline.{parquet,npz}`, `metrics/baseline.json`: what needs no training."""

import pandas as pd

from fsat.core import files, params
from fsat.core.stage import run
from fsat.scoring import baseline, metrics, outcomes
from fsat.scoring.names import REGRESSION, REGRESSION_ALL


def main() -> None:
    """Logistic regression on each feature set, held out by the folds of `folds.ids`.

    Kept are the regression with the best score, and the one on all features, which `ensemble` fuses with stage 2.
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
    scores: dict[str, dict[str, float]] = {name: {} for name in features}
    for name, table in predictions.items():
        for part, split in (("cv", "heldout"), ("test", "test")):
            if len(clips := outcomes.outcome(table, index, split=split, model=REGRESSION).clips):
                scores[name][part] = round(metrics.mean(clips["ap3"].to_numpy()), 6)
    found = baseline.summary(scores)
    largest = list(features)[-1]
    every = predictions[largest].assign(model=REGRESSION_ALL)
    files.write_parquet("data/baseline.parquet", pd.concat([predictions[found["best"]], every], ignore_index=True))
    coefficients = baseline.coefficients(features[largest]["train"], folds, choose_penalty=largest != "statistics")
    files.write_npz("data/baseline.npz", **coefficients)
    files.write_json("metrics/baseline.json", found)
    best = scores[found["best"]]
    test = f", test clips {best['test']:.4f}" if "test" in best else ""
    print(f"MAP@3 of the regression ({found['best']}): held-out clips {best['cv']:.4f}{test}")


if __name__ == "__main__":
    run(main)
