"""`data/index.csv`, corrections -> `data/folds.csv`: fold, training label and weight of each training clip."""

from fsat.clips import corrections, folds
from fsat.core import files, fold_folders, params
from fsat.core.errors import FsatError, listed
from fsat.core.stage import run


def main() -> None:
    """Folds from the dataset's own labels, or its own folds; corrections are applied afterwards."""
    p = params.read()
    path = p.dataset.corrections
    rows = corrections.read(path)
    index = files.read_csv("data/index.csv")
    train = index[index["split"] == "train"]
    number = folds.assign(
        train["label"].tolist(),
        n_splits=p.folds.n_splits,
        seed=p.folds.seed,
        fold=train["fold"].tolist() if "fold" in train else None,
        group=folds.groups(train, n_splits=p.folds.n_splits),
    )
    checked = corrections.check(rows, index, path=path)
    table = corrections.apply(train, number, checked, unverified_weight=p.train.unverified_weight)
    files.write_csv("data/folds.csv", table)
    # The next stages have these in a shell's command: used here, another list is checked here before DVC runs those.
    ids, n_folds = fold_folders.existing(p.folds.ids, table), len(set(number.tolist()))
    if not ids:
        raise FsatError(f"folds.ids: names none of the {n_folds} folds. Got {listed(p.folds.ids, limit=20)}.")
    print(f"folds to train: {listed(ids, limit=20)} of {n_folds}")
    if left := sorted({*p.folds.ids} - {*ids}):
        print(f"note: there are {n_folds} folds: {listed(left, limit=20)} of folds.ids stay empty")
    if checked:
        counts = [f"{sum(row.action == action for row in checked)} {action}" for action in corrections.ACTIONS]
        print(f"{path}: {len(checked)} corrections ({', '.join(counts)})")


if __name__ == "__main__":
    run(main)
