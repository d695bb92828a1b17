"""Folds and models into one: `data/predictions.parquet`, `data/submission.csv`, mean learning curves."""

from pathlib import Path

import pandas as pd

from fsat.core import files, fold_folders, params
from fsat.core.stage import run
from fsat.scoring import ensemble, names, selection
from fsat.scoring.names import STAGES


def set_aside() -> None:
    """Move folders of folds that are not in `folds.ids` to `state/other_folds/`."""
    p = params.read()
    # In the order of the stages, in which the printed commands have to run: DVC commits no stage without its inputs.
    for part, stage in (*((f"models/{stage}", stage) for stage in STAGES), ("predictions", "predict")):
        aside = Path("state/other_folds", part)
        for line in fold_folders.set_aside_other_folds(Path("data", part), p.folds.ids, aside, stage=stage):
            print(line)


def main() -> None:
    """Geometric mean over the folds of `folds.ids`, and over the models of `ensemble.models`."""
    p = params.read()
    folder = Path("data/predictions")
    folds = files.read_csv("data/folds.csv")
    ids = fold_folders.existing(p.folds.ids, folds)
    folders = {fold: folder / f"fold{fold}" for fold in ids}
    table = ensemble.combine({fold: files.read_parquet(path / "predictions.parquet") for fold, path in folders.items()})
    every = pd.concat([table, files.read_parquet("data/baseline.parquet")], ignore_index=True)
    models, best = p.ensemble.models, p.ensemble.choose == "best"
    learned = folds.query("weight > 0")
    actual = dict(zip(learned["fname"], learned["corrected"], strict=True))
    if best and (why := selection.why_all(every, actual, models)):
        print(f"ensemble.choose: all models are used, as {why}")
        best = False
    choice = selection.choose(every, actual, models, best=best)
    print(f"submission: {names.listed(choice['test'])}")
    files.write_json("data/models.json", choice)
    submitted = selection.submission(every, choice)
    files.write_parquet("data/predictions.parquet", pd.concat([table, submitted], ignore_index=True))
    test = submitted[submitted["split"] == "test"]
    labels = list(table.columns[4:])
    files.write_csv("data/submission.csv", ensemble.submission(test["fname"].tolist(), test[labels].to_numpy(), labels))
    histories = ensemble.read_histories("data/models", ids)
    for stage in STAGES:
        files.write_csv(f"metrics/learning_curve_{stage}.csv", ensemble.learning_curve(histories, stage))


if __name__ == "__main__":
    run(main, prepare=set_aside)
