"""What `fsat tag` prints: a table, CSV, JSON, and label files for editors; and where a half-written CSV goes on."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from fsat.core.errors import FsatError

if TYPE_CHECKING:
    from fsat.tagger.events import Event
    from fsat.tagger.tagger import Tagged

LABEL_FORMATS = ("audacity", "raven")  # of one recording
RAVEN_HEADS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Label", "Probability"),
)
MARK_HEADS = ("unknown", "unknown_score")


class Printer:
    """Prints results: CSV and labels for editors line by line as they come, the other formats at the end.

    Parameters
    ----------
    form : {"table", "csv", "json", "audacity", "raven"}
    top : int
        Labels a file or window.
    with_times, events, marks : bool
        Whether results are windows or events, are `Event`, say if a sound is none of the labels.
    highest_hz : float
        Upper end of the networks' mel bands, the height of a selection in Raven.
    header : bool
        Whether a CSV begins with the names of its columns.
    note : str
        A line below a table; the other formats, which programs read, have none.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        form: str,
        top: int,
        with_times: bool,
        events: bool,
        highest_hz: float,
        marks: bool = False,
        header: bool = True,
        note: str = "",
    ) -> None:
        """Print the head of a format that has one."""
        self.stream, self.form, self.top, self.highest_hz, self.note = stream, form, top, highest_hz, note
        self.with_times, self.events, self.marks = with_times, events, marks
        self.rows: list[tuple[list[Any], list[tuple[str, float]], dict[str, Any]]] = []
        self.n_selections = 0
        self.lines = csv.writer(stream, lineterminator="\n")
        if form == "csv" and header:
            self.lines.writerow(csv_heads(top=top, with_times=with_times, events=events, marks=marks))
        if form == "raven":
            print(*RAVEN_HEADS, sep="\t", file=stream)

    def add(self, result: "Tagged | Event") -> None:
        """Print one file, window or event, or keep it for the end."""
        times = [round(result.start_s, 3), round(result.end_s, 3)] if self.with_times else []
        tags = [(label, round(probability, 6)) for label, probability in result.top(self.top)]
        keys = [printable(result.path), *times]
        mark: dict[str, Any] = {}
        if self.marks:
            tagged = cast("Tagged", result)
            score = None if tagged.unknown_score is None else round(tagged.unknown_score, 6)
            mark = dict(zip(MARK_HEADS, (tagged.unknown, score), strict=True))
        if self.form == "csv":
            marked = [json.dumps(value) for value in mark.values()]  # true and false, not Python's True and False
            self.lines.writerow([*keys, *(value for pair in tags for value in pair), *marked])
        elif self.form in LABEL_FORMATS:
            for label, probability in tags:
                self._write_label(result.start_s, result.end_s, label, probability)
        else:
            self.rows.append((keys, tags, mark))
            return
        self.stream.flush()

    def _write_label(self, start_s: float, end_s: float, label: str, probability: float) -> None:
        name = one_line(label)
        if self.form == "audacity":
            print(f"{start_s:.6f}", f"{end_s:.6f}", f"{name} {probability:.2f}", sep="\t", file=self.stream)
            return
        self.n_selections += 1
        place = (f"{start_s:.6f}", f"{end_s:.6f}", "0.0", f"{self.highest_hz:.1f}")
        print(self.n_selections, "Spectrogram 1", 1, *place, name, probability, sep="\t", file=self.stream)

    def end(self) -> None:
        """Print what was kept."""
        if self.form == "json":
            objects = []
            for keys, tags, mark in self.rows:
                described = [{"label": label, "probability": probability} for label, probability in tags]
                found = dict(zip(("path", "start_s", "end_s"), keys, strict=False))
                objects.append(found | (described[0] if self.events else {"tags": described}) | mark)
            print(json.dumps(objects, indent=2, ensure_ascii=False), file=self.stream)
        elif self.form == "table":
            times = ["start", "end"] if self.with_times else []
            heads = ["file", *times, *(["label"] if self.events else [f"{rank}." for rank in range(1, self.top + 1)])]
            heads += ["none of these"] if self.marks else []
            rows = [
                [
                    str(keys[0]),
                    *(f"{time:.2f} s" for time in keys[1:]),
                    *(f"{label} {p:.0%}" for label, p in tags),
                    *(["yes" if mark["unknown"] else ""] if mark else []),
                ]
                for keys, tags, mark in self.rows
            ]
            print_table(heads, rows, right=times, stream=self.stream)
            if self.note:
                print(self.note, file=self.stream)


def csv_heads(*, top: int, with_times: bool, events: bool, marks: bool = False) -> list[str]:
    """Names of the columns of a CSV."""
    if events:
        return ["path", "start_s", "end_s", "label", "probability"]
    ranked = [f"{name}{rank}" for rank in range(1, top + 1) for name in ("label", "probability")]
    return ["path", *(["start_s", "end_s"] if with_times else []), *ranked, *(MARK_HEADS if marks else ())]


def resume(path: Path, heads: Sequence[str]) -> Counter[str]:
    """Cut a half-written CSV after its last whole file, and say how often each file is in it.

    The rows of the last file are cut as well where a file may have several, since more may have been to come; so is
    a row that does not end. A file that is not there or empty counts as one without rows. `FsatError` if the file
    cannot be read or has other columns.
    """
    try:
        text = path.read_bytes().decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise FsatError(f"--resume: {path} cannot be read ({error}).") from error
    ends = _record_ends(text)
    if not ends:
        path.write_text("", encoding="utf-8")
        return Counter()
    starts = [0, *ends[:-1]]
    records = (io.StringIO(text[start:end], newline="") for start, end in zip(starts, ends, strict=True))
    rows = [next(csv.reader(record)) for record in records]
    if rows[0] != list(heads):
        what = f"{path} has other columns ({', '.join(rows[0][:4])} ...) than these options give"
        raise FsatError(f"--resume: {what}. Use the options it was made with, or another --output.")
    several = "start_s" in heads
    # (name, where its rows begin) of each file; a file that is named twice in a row begins where time goes back.
    found: list[tuple[str, int]] = []
    for number in range(1, len(rows)):
        row, before = rows[number], rows[number - 1]
        if several and number > 1 and row[0] == before[0] and _place(row, heads) > _place(before, heads):
            continue
        found.append((row[0], starts[number]))
    end = ends[-1]
    if several and found:
        _, end = found.pop()
    with path.open("r+b") as stream:
        stream.truncate(len(text[:end].encode("utf-8")))
    return Counter(name for name, _ in found)


def _place(row: Sequence[str], heads: Sequence[str]) -> tuple[float, str]:
    """By what the rows of one file rise: the start, and for events that start together the label."""
    return float(row[1]), row[3] if heads[3] == "label" else ""


def _record_ends(text: str) -> list[int]:
    """Where each whole record of a CSV ends: at a line end outside quotes."""
    ends, quoted = [], False
    for position, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif character == "\n" and not quoted:
            ends.append(position + 1)
    return ends


def write_embeddings(path: Path, tagged: Sequence["Tagged"]) -> None:
    """One row a file or window: path, start_s, end_s, e0000 ... (Parquet); name, start_s, end_s, embedding (npz).

    `FsatError` if nothing was tagged, or Parquet cannot be written here.
    """
    import numpy as np

    from fsat.core import files

    if not tagged:
        raise FsatError(f"--embeddings: {path} was not written, because no file could be tagged.")
    values = np.array([result.embedding for result in tagged])  # (n, E)
    keys = {
        "path": [printable(result.path) for result in tagged],
        "start_s": [result.start_s for result in tagged],
        "end_s": [result.end_s for result in tagged],
    }
    if path.suffix == ".npz":
        names, starts, ends = (np.array(column) for column in keys.values())
        files.write_npz(path, embedding=values, name=names, start_s=starts, end_s=ends)
        return
    try:
        import pandas as pd
        import pyarrow  # noqa: F401  # what pandas writes Parquet with
    except ImportError as error:
        how = "`pip install 'fsat[pipeline]'`, or write .npz."
        raise FsatError(f"--embeddings: {path} needs {error.name}: {how}") from error
    features = {f"e{number:04d}": column for number, column in enumerate(values.T)}
    files.write_parquet(path, pd.DataFrame(keys | features))


def printable(path: str) -> str:
    """A file name as it can be written: bytes that are no UTF-8 become ``?``."""
    return path.encode("utf-8", "replace").decode("utf-8")


def one_line(text: str) -> str:
    """Text on one line, without what moves a terminal's cursor or ends a field: such characters as Python spells them.

    >>> print(one_line("a\\nb\\tc"))
    a\\nb\\tc
    """
    shown = printable(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), stream: TextIO
) -> None:
    """Print a table that fits into a terminal; in a pipe or file it is as wide as it needs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        # Text, because a file name may hold what rich takes for markup.
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console(file=stream, width=None if stream.isatty() else 10_000).print(table)
