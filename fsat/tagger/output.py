"""What `fsat tag` prints: a table, CSV, JSON, and label files for editors."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from fsat.clips.annotations import is_formula, safe
from fsat.core import files
from fsat.core.errors import FsatError, one_line, shown

if TYPE_CHECKING:
    from fsat.tagger.events import Event
    from fsat.tagger.results import Tagged

# What `fsat.clips.annotations` reads, and the end of its name beside a recording.
LABEL_FORMATS = {"audacity": ".txt", "raven": ".selections.txt"}
RAVEN_HEADS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Label", "Probability", "Begin File"),
)
RAVEN_HEADS_OF_MANY = (*RAVEN_HEADS, "Begin Path", "File Offset (s)")
MARK_HEADS = ("unknown", "unknown_score")
PROVENANCE_HEADS = ("bundle", "version", "threshold")


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
    many : bool
        Whether a table for Raven is about several recordings, in which its times run on from one to the next.
    provenance : callable, optional
        Gives values by `PROVENANCE_HEADS` of a result, for further columns of a CSV, JSON or table for Raven.
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
        many: bool = False,
        provenance: "Callable[[Tagged | Event], dict[str, Any]] | None" = None,
        note: str = "",
    ) -> None:
        """Print the head of a format that has one."""
        self.stream, self.form, self.top, self.highest_hz, self.note = stream, form, top, highest_hz, note
        self.with_times, self.events, self.marks, self.provenance = with_times, events, marks, provenance
        self.rows: list[tuple[list[Any], list[tuple[str, float]], dict[str, Any]]] = []
        self.many, self.n_selections, self.before_s, self.end_s = many, 0, 0.0, 0.0
        if form == "csv" and header:
            options = {"with_times": with_times, "events": events, "marks": marks}
            self._write_row(csv_heads(top=top, provenance=provenance is not None, **options))
        if form == "raven":
            more = map(str.capitalize, PROVENANCE_HEADS if provenance else ())
            print(*(RAVEN_HEADS_OF_MANY if many else RAVEN_HEADS), *more, sep="\t", file=stream)

    def add(self, result: "Tagged | Event") -> None:
        """Print one file, window or event, or keep it for the end."""
        times = [round(result.start_s, 3), round(result.end_s, 3)] if self.with_times else []
        tags = [(label, round(probability, 6)) for label, probability in result.top(self.top)]
        keys = [shown(result.path), *times]
        mark: dict[str, Any] = {}
        if self.marks:
            tagged = cast("Tagged", result)
            score = None if tagged.unknown_score is None else round(tagged.unknown_score, 6)
            mark = dict(zip(MARK_HEADS, (tagged.unknown, score), strict=True))
        origin = {} if self.provenance is None else self.provenance(result)
        if self.form == "csv":
            marked = [json.dumps(value) for value in mark.values()]  # true and false, not Python's True and False
            named = [value for label, probability in tags for value in (safe(label), probability)]
            self._write_row([_safe_path(shown(result.path)), *times, *named, *marked, *_cells(origin)])
        elif self.form in LABEL_FORMATS:
            self.end_s = max(self.end_s, result.end_s)
            for label, probability in tags:
                self._write_label(result, label, probability, _cells(origin))
        else:
            self.rows.append((keys, tags, mark | origin))
            return
        self.stream.flush()

    def _write_row(self, row: Sequence[Any]) -> None:
        # Python 3.11 and 3.12 leave a carriage return outside quotes, where it ends the row for a reader.
        has_return = any("\r" in str(value) for value in row)
        quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL
        csv.writer(self.stream, lineterminator="\n", quoting=quoting).writerow(row)

    def ended(self, seconds: float) -> None:
        """Note that a recording of this length has ended."""
        self.before_s += max(seconds, self.end_s)
        self.end_s = 0.0

    def _write_label(self, result: "Tagged | Event", label: str, probability: float, more: Sequence[Any]) -> None:
        name, path = one_line(label), one_line(result.path)
        if self.form == "audacity":
            print(f"{result.start_s:.6f}", f"{result.end_s:.6f}", name, sep="\t", file=self.stream)
            return
        self.n_selections += 1
        first = self.before_s if self.many else 0.0
        place = (f"{first + result.start_s:.6f}", f"{first + result.end_s:.6f}", "0.0", f"{self.highest_hz:.1f}")
        row = [self.n_selections, "Spectrogram 1", 1, *place, safe(name), probability]
        row += [_safe_path(PurePath(path).name)]
        row += [_safe_path(path), f"{result.start_s:.6f}"] if self.many else []
        print(*row, *more, sep="\t", file=self.stream)

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
        self.stream.flush()


def _cells(origin: "dict[str, Any]") -> list[Any]:
    """Values of further columns, as a table may hold them."""
    return ["" if value is None else safe(one_line(value)) if isinstance(value, str) else value
            for value in origin.values()]  # fmt: skip


def _safe_path(path: str) -> str:
    """A path that no spreadsheet takes for a formula, and that names the same file."""
    return f"./{path}" if is_formula(path) else path


def csv_heads(*, top: int, with_times: bool, events: bool, marks: bool = False, provenance: bool = False) -> list[str]:
    """Names of the columns of a CSV."""
    more = PROVENANCE_HEADS if provenance else ()
    if events:
        return ["path", "start_s", "end_s", "label", "probability", *more]
    ranked = [f"{name}{rank}" for rank in range(1, top + 1) for name in ("label", "probability")]
    return ["path", *(["start_s", "end_s"] if with_times else []), *ranked, *(MARK_HEADS if marks else ()), *more]


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the system says of writing `what` into one line; a pipe whose reader has gone needs none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FsatError(f"{what} cannot be written ({error.strerror or error}).") from error


def check_embeddings(path: Path) -> None:
    """Refuse what `write_embeddings` could not write, before there is anything to lose: `FsatError`."""
    if path.suffix not in (".npz", ".parquet"):
        raise FsatError(f"--embeddings: {path} must end in .npz or .parquet.")
    if path.suffix == ".parquet":
        try:
            import pandas as pd  # noqa: F401
            import pyarrow  # noqa: F401  # what pandas writes Parquet with
        except ImportError as error:
            how = "`pip install 'fsat[pipeline]'`, or write .npz."
            raise FsatError(f"--embeddings: {path} needs {error.name}: {how}") from error
    if path.is_dir():
        raise FsatError(f"--embeddings: {path} is a folder. Name a file.")
    with told(f"--embeddings: {path}"):
        files.try_writing(path)


def write_embeddings(path: Path, tagged: Sequence["Tagged"]) -> None:
    """One row a file or window: path, start_s, end_s, e0000 ... (Parquet); name, start_s, end_s, embedding (npz).

    `FsatError` if nothing was tagged, or the file cannot be written.
    """
    import numpy as np

    if not tagged:
        raise FsatError(f"--embeddings: {path} was not written, because no file could be tagged.")
    values = np.array([result.embedding for result in tagged])  # (n, E)
    keys = {
        "path": [shown(result.path) for result in tagged],
        "start_s": [result.start_s for result in tagged],
        "end_s": [result.end_s for result in tagged],
    }
    with told(f"--embeddings: {path}"):
        if path.suffix == ".npz":
            names, starts, ends = (np.array(column) for column in keys.values())
            files.write_npz(path, embedding=values, name=names, start_s=starts, end_s=ends)
            return
        import pandas as pd

        features = {f"e{number:04d}": column for number, column in enumerate(values.T)}
        files.write_parquet(path, pd.DataFrame(keys | features))


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
