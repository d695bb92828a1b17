"""Tables that people write: CSV files as spreadsheets save them, read row by row with all their problems."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fsat.clips.clip_files import inside
from fsat.clips.problems import Problems

OUTSIDE = (
    "leads outside the dataset folder",
    "Nothing outside it is opened: copy the file into it and name it relative to it.",
)


def read(
    folder: Path, name: str, needed: Sequence[str], problems: Problems, *, may_be_empty: bool = False
) -> list[dict[str, str]]:
    """Rows of a CSV file as dicts with lower-case keys, plus `line`; what is wrong goes to `problems`.

    UTF-8 with or without a byte order mark; fields separated by comma, semicolon or tab; any line ends.

    `name` is how messages call the file, `needed` are columns it must have; with `may_be_empty` it may have no rows.
    """

    def wrong(what: str, remedy: str) -> list[dict[str, str]]:
        problems.add(what, remedy, name)
        return []

    path = folder / name
    if not inside(folder, path):
        return wrong(*OUTSIDE)
    if not path.is_file():
        return wrong("not a file", "A CSV table is needed there.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return wrong(f"table cannot be read: {error.strerror}", "Check its permissions.")
    except UnicodeDecodeError as error:
        return wrong(f"table is not UTF-8 text (byte {error.start})", "Save it as CSV in UTF-8.")
    if not text.strip():
        return wrong("table is empty", f"It needs a header with the columns {' and '.join(needed)}, and a row a clip.")
    # The delimiter is the one that the header has most of; a file with one column has none.
    header = text.lstrip().splitlines()[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not columns:
                columns = [cell.lower() for cell in cells]
                missing = [column for column in needed if column not in columns]
                if missing:
                    found = f"found: {', '.join(columns)[:200]}"
                    return wrong(f"column {' and '.join(missing)} missing ({found})", "Add or rename it in the header.")
                twice = sorted({column for column in columns if column and columns.count(column) > 1})
                if twice:
                    return wrong(f"column twice: {', '.join(twice)[:200]}", "Keep one of them.")
            elif len(cells) != len(columns):
                where = f"{name} line {reader.line_num}: {len(cells)} fields, header {len(columns)}"
                what = "row with another number of fields than the header"
                problems.add(what, "Quote fields that hold the delimiter.", where)
            else:
                rows.append({**dict(zip(columns, cells, strict=True)), "line": f"{name} line {reader.line_num}"})
    except csv.Error as error:
        return wrong(f"table cannot be read as CSV at line {reader.line_num}: {error}", "Save it anew as CSV.")
    if not rows and not problems and not may_be_empty:
        return wrong("table has no rows", "It needs a row for each clip.")
    return rows
