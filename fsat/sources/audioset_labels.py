"""The labels of AudioSet, from the table that its authors publish: ``class_labels_indices.csv``."""

import csv
from pathlib import Path

from fsat.core.errors import FsatError

N_LABELS = 527


def read(path: str | Path) -> list[str]:
    """Names of the labels, in the order of a network's outputs; they may hold commas and quotes.

    `FsatError` if they are not 527 different ones. All else the checksum of the download tells.
    """
    with Path(path).open(encoding="utf-8", newline="") as stream:
        names = [row["display_name"] for row in csv.DictReader(stream)]
    if not len(names) == len(set(names)) == N_LABELS:
        raise FsatError(f"{path}: is not AudioSet's table of {N_LABELS} labels. Delete it and run again.")
    return names
