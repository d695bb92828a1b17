"""Statistics and views -> `data/baseline*`, `metrics/baseline.json`: regressions, which need no training."""

import numpy as np
import pandas as pd

from fsat.core import files, fold_folders, params
from fsat.core.stage import run
from fsat.features import pca
from fsat.scoring import baseline, metrics, outcomes

SPLITS = ("train", "test")


def main() -> None:
    """One logistic regression on the statistics and one on each view but `pooled`, held out by the folds of `ids`.

    The statistics' scaler and components, too, are fitted without the clips of a held-out fold.
    """
    p = params.read()
    index, folds = files.read_csv("data/index.csv"), files.read_csv("data/folds.csv")
    if "group" in index:
        folds = folds.merge(index.loc[index["split"] == "train", ["fname", "group"]])
    ids = fold_folders.existing(p.folds.ids, folds)
    components = {split: files.read_parquet(f"data/pca/{split}.parquet") for split in SPLITS}
    statistics = files.read_parquet("data/spectral.parquet").set_index("fname").drop(columns="split")
    statistics = statistics.loc[components["train"]["fname"]]
    n_components = components["train"].shape[1] - 1

    def without(fold: int) -> pd.DataFrame:
        return pca.held_out(statistics, folds.loc[folds["fold"] == fold, "fname"], n_components=n_components)

    found = {
        "statistics": baseline.predict(components, folds, ids, model="statistics", heldout=without, standardise=False)
    }
    for view, tables in views().items():
        found[view] = baseline.predict(tables, folds, ids, model=view)
    scores: dict[str, dict[str, float]] = {}
    coefficients: dict[str, np.ndarray] = {}
    of_folds: dict[str, np.ndarray] = {}
    for name, predicted in found.items():
        scores[name] = {}
        for part, split in (("cv", "heldout"), ("test", "test")):
            if len(clips := outcomes.outcome(predicted.table, index, split=split, model=name).clips):
                scores[name][part] = round(metrics.mean(clips["ap3"].to_numpy()), 6)
        fitted = predicted.regressions[-1]
        scores[name]["C"] = fitted.c
        coefficients |= {f"{name}.weights": fitted.weights, f"{name}.bias": fitted.bias}
        for fold in ids:
            one = predicted.regressions[fold]
            of_folds |= {f"{name}.weights.fold{fold}": one.weights, f"{name}.bias.fold{fold}": one.bias}
        if said := baseline.edges(predicted.regressions):
            print(f"note: regression on {name}: {said}")
    chosen = baseline.summary(scores)
    files.write_parquet("data/baseline.parquet", pd.concat([one.table for one in found.values()], ignore_index=True))
    files.write_npz("data/baseline.npz", **coefficients)
    files.write_npz("data/baseline_folds.npz", **of_folds)
    files.write_json("metrics/baseline.json", chosen)
    best = scores[chosen["best"]]
    test = f", test clips {best['test']:.4f}" if "test" in best else ""
    print(f"MAP@3 of the best regression ({chosen['best']}): held-out clips {best['cv']:.4f}{test}")


def views() -> dict[str, dict[str, pd.DataFrame]]:
    """The views of `data/embeddings/` that have a regression, as tables of each split; "pooled" has none."""
    tables = {split: files.read_parquet(f"data/embeddings/{split}.parquet").set_index("fname") for split in SPLITS}
    names = dict.fromkeys(str(column).partition(".")[0] for column in tables["train"])  # in their order
    return {
        view: {split: table.filter(regex=f"^{view}\\.").reset_index() for split, table in tables.items()}
        for view in names
        if view != "pooled"
    }


if __name__ == "__main__":
    run(main)
