"""Tables that people write: CSV files as spreadsheets save them, read row by row with all their problems."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsat.clips.clip_files import inside
from fsat.clips.problems import Problems

OUTSIDE = (
    "leads outside the dataset folder",
    "Nothing outside it is opened: copy the file into it and name it relative to it.",
)

# What spreadsheets put before the header: a byte order mark, a line that names the delimiter.
_BEFORE_HEADER = re.compile(r"\ufeff?(?:\"?sep=(?P<delimiter>[,;\t|])\"?(?:\r\n|\r|\n))?", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """How a table is written: what stands before its header, its delimiter, its line ends."""

    start: str = ""
    delimiter: str = ","
    line_end: str = "\n"


def form_of(text: str) -> Form:
    """Form of a table, its text decoded as UTF-8; without a line ``sep=`` the delimiter that its header has most of."""
    found = _BEFORE_HEADER.match(text)
    start, given = (found[0], found["delimiter"]) if found else ("", None)
    header = next(iter(text.removeprefix(start).lstrip().splitlines()), "")
    line_end = next((end for end in ("\r\n", "\n", "\r") if end in text), "\n")
    return Form(start, given or max(",;\t", key=header.count), line_end)


def read_text(folder: Path, name: str, problems: Problems) -> str | None:
    """Text of a table in a dataset folder; None if there is none to read, which goes to `problems`."""
    path = folder / name
    try:
        if not inside(folder, path):
            problems.add(*OUTSIDE, name)
        elif not path.is_file():
            problems.add("not a file", "A table is needed there.", name)
        else:
            return path.read_bytes().decode("utf-8")
    except OSError as error:
        problems.add(f"table cannot be read: {error.strerror}", "Check its permissions.", name)
    except UnicodeDecodeError as error:
        problems.add(f"table is not UTF-8 text (byte {error.start})", "Save it in UTF-8.", name)
    return None


def read(
    folder: Path, name: str, needed: Sequence[str], problems: Problems, *, may_be_empty: bool = False
) -> list[dict[str, str]]:
    """Rows of a CSV file as dicts with lower-case keys, plus `line`; what is wrong goes to `problems`.

    UTF-8 with or without a byte order mark; fields separated by comma, semicolon or tab, or as a first line ``sep=;``
    says; any line ends.

    `name` is how messages call the file, `needed` are columns it must have; with `may_be_empty` it may have no rows.
    """

    def wrong(what: str, remedy: str) -> list[dict[str, str]]:
        problems.add(what, remedy, name)
        return []

    text = read_text(folder, name, problems)
    if text is None:
        return []
    form = form_of(text)
    text = text.removeprefix(form.start)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=form.delimiter)
    skipped = int("=" in form.start)
    try:
        lines = [(skipped + reader.line_num, list(map(str.strip, cells))) for cells in reader]
    except csv.Error as error:
        line = f"line {skipped + reader.line_num}"
        return wrong(f"table cannot be read as CSV at {line}: {error}", "Save it anew as CSV.")
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        return wrong("table is empty", f"It needs a header with the columns {' and '.join(needed)}, and a row a clip.")
    columns = [cell.lower() for cell in lines[0][1]]
    if missing := [column for column in needed if column not in columns]:
        found = f"found: {', '.join(columns)[:200]}"
        return wrong(f"column {' and '.join(missing)} missing ({found})", "Add or rename it in the header.")
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        return wrong(f"column twice: {', '.join(twice)[:200]}", "Keep one of them.")
    rows = []
    for number, cells in lines[1:]:
        line = f"{name} line {number}"
        if len(cells) != len(columns):
            what = "row with another number of fields than the header"
            item = f"{line}: {len(cells)} fields, header {len(columns)}"
            problems.add(what, "Quote fields that hold the delimiter.", item)
        else:
            rows.append({**dict(zip(columns, cells, strict=True)), "line": line})
    if not rows and not problems and not may_be_empty:
        return wrong("table has no rows", "It needs a row for each clip.")
    return rows
