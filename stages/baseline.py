"""Components and embeddings -> `data/baseline.{parquet,npz}`, `metrics/baseline.json`: what needs no training."""

from fsat.core import files, params
from fsat.core.stage import run
from fsat.scoring import baseline, metrics, outcomes


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
    predictions = {
        name: baseline.predict(tables, folds, p.folds.ids, choose_penalty=name != "statistics")
        for name, tables in features.items()
    }
    scores: dict[str, dict[str, float]] = {name: {} for name in features}
    for name, table in predictions.items():
        for part, split in (("cv", "heldout"), ("test", "test")):
            if len(clips := outcomes.outcome(table, index, split=split, model="statistics").clips):
                scores[name][part] = round(metrics.mean(clips["ap3"].to_numpy()), 6)
    found = baseline.summary(scores)
    files.write_parquet("data/baseline.parquet", predictions["statistics"])
    coefficients = baseline.coefficients(features["statistics"]["train"], folds)
    files.write_npz("data/baseline.npz", **{f"statistics.{name}": value for name, value in coefficients.items()})
    files.write_json("metrics/baseline.json", found)
    best = scores[found["best"]]
    test = f", test clips {best['test']:.4f}" if "test" in best else ""
    print(f"MAP@3 of the regression ({found['best']}): held-out clips {best['cv']:.4f}{test}")


if __name__ == "__main__":
    run(main)
