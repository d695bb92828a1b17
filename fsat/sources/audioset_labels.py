"""The labels of AudioSet, from the table that its authors publish: ``class_labels_indices.csv``."""

import csv
from pathlib import Path

from fsat.core.errors import FsatError

COLUMNS = ["index", "mid", "display_name"]
N_LABELS = 527


def read(path: str | Path) -> list[str]:
    """Names of the labels, in the order of a network's outputs; they may hold commas and quotes.

    `FsatError` if the file is not that table of 527 rows, numbered from 0: other columns, a row that is missing, twice
    or out of order, a name that is empty, twice or of several lines.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except OSError as error:
        raise FsatError(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, f"it is no CSV in UTF-8: {error}") from error
    if not rows or rows[0] != COLUMNS:
        raise _refused(path, f"its first row is not {','.join(COLUMNS)}")
    for number, row in enumerate(rows[1:]):
        if len(row) != len(COLUMNS) or row[0] != str(number):
            raise _refused(path, f"row {number + 2} is not that of label {number}")
        if not row[2].strip() or not row[2].isprintable():
            raise _refused(path, f"label {number} has no name on one line")
    names = [name for _, _, name in rows[1:]]
    if len(names) != N_LABELS:
        raise _refused(path, f"it has {len(names)} labels")
    if len(set(names)) != len(names):
        raise _refused(path, f"it names a label twice: {max(names, key=names.count)}")
    return names


def _refused(path: str | Path, reason: str) -> FsatError:
    return FsatError(
        f"{path}: is not AudioSet's table of {N_LABELS} labels, because {reason}. Delete it and run again."
    )
