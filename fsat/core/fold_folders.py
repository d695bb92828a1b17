"""Folders of folds: outputs of stages that do not run, and folders that a run does not use, never lost."""

import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

from fsat.core import files

# In a folder of data/models/: what the network is, or that it was not trained.
_SUMMARY = "summary.json"


def existing(ids: Sequence[int], folds: "pd.DataFrame") -> list[int]:
    """The folds of `folds.ids` that hold clips of `data/folds.csv` out, in ascending order.

    Where a label has fewer clips than `folds.n_splits`, stage `folds` makes fewer folds, and the last are missing.
    """
    return sorted({*ids} & {*folds["fold"].tolist()})


def write_empty(folder: Path, why: str) -> None:
    """Write the output of a training that does not run: a summary that says so, and why; it is printed as well."""
    with files.atomic_folder(folder) as part:
        files.write_json(part / _SUMMARY, {"run": False, "why": why})
    print(f"{folder}: no network is trained, as {why}")


def is_empty(folder: Path) -> bool:
    """Whether the folder is of a training that did not run; `FsatError` if its summary cannot be read."""
    summary = files.read_json(folder / _SUMMARY)
    return isinstance(summary, dict) and summary.get("run") is False


def set_aside_other_folds(folder: Path, ids: Sequence[int], aside: Path, *, stage: str) -> list[str]:
    """Move `fold<k>` folders whose k is not in `ids` to `aside`; returns a line for each that says how to undo it.

    They are left over from a run with more folds; as part of a folder DVC hashes they would make its hash differ from
    that of a clean run. DVC's cache may not hold them (``dvc repro --no-commit``), so nothing is deleted unless an
    equal copy is already in `aside`, or no training ran, and nothing there is overwritten: a later one becomes
    `fold<k>.1`, `fold<k>.2` ...

    `stage` is the DVC stage that writes these folders: ``<stage>@<k>``.
    """
    wanted = {f"fold{fold}" for fold in ids}
    lines = []
    for path in sorted(path for path in folder.glob("fold*") if path.is_dir() and path.name not in wanted):
        if (path / _SUMMARY).is_file() and is_empty(path):
            shutil.rmtree(path)
            continue
        target, number = aside / path.name, 0
        while target.exists() and not _equal_folders(path, target):
            number += 1
            target = aside / f"{path.name}.{number}"
        if target.exists():
            shutil.rmtree(path)
        else:
            aside.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
        lines.append(
            f"{path} is not in folds.ids and was moved to {target}. To use it again, add the fold to folds.ids, then: "
            f"`mv {target} {path} && dvc commit {stage}@{path.name.removeprefix('fold')}`"
        )
    return lines


def _equal_folders(one: Path, other: Path) -> bool:
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (one, other)]
    return names[0] == names[1] and all(
        (one / name).is_dir() or filecmp.cmp(one / name, other / name, shallow=False) for name in names[0]
    )
