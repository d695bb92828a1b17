"""`data/index.csv` -> `data/folds.csv`: the fold that holds each training clip out."""

from fsat.clips import folds
from fsat.core import files, params
from fsat.core.stage import run


def main() -> None:
    """Use the dataset's own folds where it has them; else spread every label evenly."""
    p = params.read("folds.n_splits", "folds.seed")
    index = files.read_csv("data/index.csv")
    train = index[index["split"] == "train"]
    number = folds.assign(
        train["label"].tolist(),
        n_splits=p.folds.n_splits,
        seed=p.folds.seed,
        fold=train["fold"].tolist() if "fold" in train else None,
        group=train["group"].tolist() if "group" in train else None,
    )
    files.write_csv("data/folds.csv", train[["fname", "label"]].assign(fold=number))


if __name__ == "__main__":
    run(main)
