"""The command `fsat`: tag sounds, export networks, check this machine, show the times of a run.

Heavy imports (Keras, pandas) are inside the commands, so that `fsat --help` answers at once.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsat.core.errors import FsatError

if TYPE_CHECKING:
    from fsat.tagger.tagger import Tagged

DEFAULT_BUNDLE = Path("data/bundle")
# Progress is shown from this many files on.
_MANY = 2

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main() -> None:
    """Entry point of the command: a problem the user can mend is shown as its message, without a traceback."""
    try:
        app()
    except FsatError as error:
        sys.exit(f"fsat: {error}")


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"
    csv = "csv"


class Stage(StrEnum):
    """Which of a bundle's two networks."""

    stage1 = "stage1"
    stage2 = "stage2"


ModelOption = Annotated[Path, typer.Option("--model", metavar="FOLDER", help="Model bundle.")]
StageOption = Annotated[Stage, typer.Option(help="stage2: mel + PCA network; stage1: mel network, faster.")]
FoldsOption = Annotated[int | None, typer.Option(metavar="N", help="Use the first N folds.  [default: all]")]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="How to print.  [default: table on a terminal, csv in a pipe]")
]


@app.callback()
def fsat() -> None:
    """Tag sounds with a trained model, and look after the pipeline that trains it."""


# fsat tag ----------------------------------------------------------------------------------------------------------


@app.command()
def tag(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help="Sound files, folders of them, or - for names on stdin."),
    ] = None,
    name_list: Annotated[
        list[str] | None, typer.Option("--list", metavar="FILE", help="Text file with one name a line; - is stdin.")
    ] = None,
    model: ModelOption = DEFAULT_BUNDLE,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Labels a file.")] = 3,
    form: FormatOption = None,
    segments: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Tag windows of this length instead of whole files.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(metavar="FILE.parquet", help="Also write the network's features, mean over passes and folds."),
    ] = None,
    stage: StageOption = Stage.stage2,
    folds: FoldsOption = None,
    lengths: Annotated[int | None, typer.Option(metavar="N", help="Lengths a fold.  [default: the bundle's]")] = None,
    tries: Annotated[int | None, typer.Option(metavar="N", help="Passes a length.  [default: the bundle's]")] = None,
) -> None:
    """Tag sound files: any length, rate, number of channels and format that libsndfile reads.

    Fewer folds, lengths or tries are faster and less accurate. The exit code is 1 if a file could not be tagged; the
    others are tagged all the same.
    """
    from fsat.tagger import bundle

    opened = bundle.read(model)
    names = list(_expand(inputs or [], name_list or []))
    if not names:
        raise FsatError("nothing to tag: name sound files, folders of them, or a list (`fsat tag --help`).")
    if embeddings is not None and embeddings.suffix != ".parquet":
        raise FsatError(f"--embeddings: {embeddings} must end in .parquet.")
    from fsat.tagger.tagger import Failed, Tagger

    tagger = Tagger(opened, stage=stage, n_folds=folds, lengths=lengths, tries=tries, embeddings=embeddings is not None)
    results = tagger.tag_files(names, segment_s=segments, progress=len(names) >= _MANY)
    printer = _Printer(opened.manifest.labels, top=top, with_times=segments is not None, form=form or _usual_format())
    failed: list[Failed] = []
    tagged: list[Tagged] = []
    for result in results:
        if isinstance(result, Failed):
            failed.append(result)
        else:
            printer.add(result)
            if embeddings is not None:
                tagged.append(result)
    printer.end()
    if embeddings is not None:
        _write_embeddings(embeddings, tagged)
    for failure in failed:
        print(f"fsat: {_shown(failure.path)}: {failure.reason}", file=sys.stderr)
    if failed:
        print(f"fsat: {len(failed)} of {len(names)} files could not be tagged", file=sys.stderr)
        raise typer.Exit(1)


def _expand(inputs: Sequence[str], lists: Sequence[str]) -> Iterator[str]:
    """Names of the files meant; a folder stands for the sound files below it, by name."""
    for name in inputs:
        if name == "-":
            yield from _listed(sys.stdin)
        elif Path(name).is_dir():
            yield from _sounds_below(Path(name))
        else:
            yield name
    for name in lists:
        if name == "-":
            yield from _listed(sys.stdin)
            continue
        try:
            with Path(name).open(encoding="utf-8", errors="surrogateescape") as lines:
                yield from _listed(lines)
        except OSError as error:
            raise FsatError(f"--list: {name} cannot be read ({error.strerror}).") from error


def _listed(lines: Iterable[str]) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in lines if line.strip())


def _sounds_below(folder: Path) -> list[str]:
    from fsat.clips.clip_files import AUDIO_SUFFIXES, files_below, is_audio

    found = sorted(str(folder / name) for name in files_below(folder) if is_audio(name))
    if not found:
        raise FsatError(f"{folder}: no sound files in this folder ({', '.join(AUDIO_SUFFIXES[:6])} ...).")
    return found


class _Printer:
    """Prints results: CSV line by line as they come, JSON and the table at the end."""

    def __init__(self, labels: Sequence[str], *, top: int, with_times: bool, form: Format) -> None:
        self.labels, self.top, self.form, self.with_times = labels, min(top, len(labels)), form, with_times
        self.rows: list[tuple[list[Any], list[tuple[str, float]]]] = []
        self.heads = ["path", *(["start_s", "end_s"] if with_times else [])]
        self.lines = csv.writer(sys.stdout, lineterminator="\n")
        if form is Format.csv:
            ranks = range(1, self.top + 1)
            self.lines.writerow(
                [*self.heads, *(f"{name}{rank}" for rank in ranks for name in ("label", "probability"))]
            )

    def add(self, result: "Tagged") -> None:
        times = [round(result.start_s, 3), round(result.end_s, 3)] if self.with_times else []
        order = (-result.probabilities).argsort(kind="stable")[: self.top]
        tags = [(self.labels[number], round(float(result.probabilities[number]), 6)) for number in order]
        keys = [_shown(result.path), *times]
        if self.form is Format.csv:
            self.lines.writerow([*keys, *(value for pair in tags for value in pair)])
            sys.stdout.flush()
        else:
            self.rows.append((keys, tags))

    def end(self) -> None:
        if self.form is Format.json:
            objects = [
                dict(zip(self.heads, keys, strict=True))
                | {"tags": [{"label": label, "probability": probability} for label, probability in tags]}
                for keys, tags in self.rows
            ]
            print(json.dumps(objects, indent=2, ensure_ascii=False))
        elif self.form is Format.table:
            times = ["start", "end"] if self.with_times else []
            heads = ["file", *times, *(f"{rank}." for rank in range(1, self.top + 1))]
            rows = [
                [str(keys[0]), *(f"{time:.2f} s" for time in keys[1:]), *(f"{label} {p:.0%}" for label, p in tags)]
                for keys, tags in self.rows
            ]
            _print_table(heads, rows, right=times)


def _write_embeddings(path: Path, tagged: Sequence["Tagged"]) -> None:
    """One row a file or window: path, start_s, end_s, e0000 ..."""
    import numpy as np
    import pandas as pd

    from fsat.core import files

    if not tagged:
        raise FsatError(f"--embeddings: {path} was not written, because no file could be tagged.")
    values = np.array([result.embedding for result in tagged])  # (n, E)
    table = pd.DataFrame(values, columns=[f"e{number:04d}" for number in range(values.shape[1])])
    table.insert(0, "path", [_shown(result.path) for result in tagged])
    table.insert(1, "start_s", [result.start_s for result in tagged])
    table.insert(2, "end_s", [result.end_s for result in tagged])
    files.write_parquet(path, table)


# fsat export -------------------------------------------------------------------------------------------------------


@app.command()
def export(
    onnx: Annotated[Path, typer.Option("--onnx", metavar="FOLDER", help="Write ONNX networks into this folder.")],
    model: ModelOption = DEFAULT_BUNDLE,
    stage: StageOption = Stage.stage2,
    folds: FoldsOption = None,
) -> None:
    """Write a bundle's networks in another format. Needs the extra: `pip install -e '.[onnx]'`."""
    from fsat.tagger import bundle

    opened = bundle.read(model)
    from fsat.tagger import onnx as networks

    written = networks.export(opened, onnx, stage=stage, n_folds=folds)
    for path in written:
        print(path)


# fsat times --------------------------------------------------------------------------------------------------------


@app.command()
def times(form: FormatOption = None) -> None:
    """Show the wall time of each stage's last run, from logs/times.csv."""
    from fsat.core.stage import TIMES

    runs = last_runs(TIMES)
    rows = [(when, stage, seconds) for stage, (when, seconds) in runs.items()]
    total = sum(seconds for _, _, seconds in rows)
    form = form or _usual_format()
    if form is Format.json:
        keys = ("finished", "stage", "seconds")
        print(json.dumps({"stages": [dict(zip(keys, row, strict=True)) for row in rows], "total": round(total, 2)}))
    elif form is Format.csv:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerows([("finished", "stage", "seconds"), *rows, ("", "total", round(total, 2))])
    else:
        cells = [[stage, _clock(seconds), when] for when, stage, seconds in rows]
        _print_table(["stage", "time", "finished"], [*cells, ["total", _clock(total), ""]], right=["time"])


def last_runs(log: Path) -> dict[str, tuple[str, float]]:
    """When the last run of each stage ended and how many seconds it took, in the order in which they ended.

    Parameters
    ----------
    log : Path
        Lines ``ISO time,stage@fold,seconds``. One that is cut off (the process was killed) does not count.

    Raises
    ------
    FsatError
        If there is no log.
    """
    try:
        text = log.read_text(encoding="utf-8")
    except OSError as error:
        raise FsatError(
            f"{log}: cannot be read ({error.strerror}). `dvc repro` writes it as it runs stages."
        ) from error
    runs: dict[str, tuple[str, float]] = {}
    for fields in csv.reader(text.splitlines()):
        try:
            when, stage, seconds = fields
            runs.pop(stage, None)  # so that the order is that of the last runs
            runs[stage] = (when, float(seconds))
        except ValueError:
            continue
    return runs


def _clock(seconds: float) -> str:
    """``1:02:03`` or ``3.4 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


# fsat doctor -------------------------------------------------------------------------------------------------------


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Do not start TensorFlow to see what it finds.")] = False,
) -> None:
    """Say what this machine offers for the pipeline and what is missing. Run it in the project's folder."""
    from fsat import doctor as checks

    found = []
    for check in checks.examine(Path(), start_tensorflow=not quick):
        found.append(check)
        indent = "\n" + " " * 22
        print(f"{check.status:8s}  {check.name:10s}  {indent.join(check.text.splitlines())}", flush=True)
    missing = sum(check.status == "missing" for check in found)
    if missing:
        print(f"fsat: {missing} of {len(found)} checks say that something needed is missing", file=sys.stderr)
        raise typer.Exit(1)


# Printing ----------------------------------------------------------------------------------------------------------


def _usual_format() -> Format:
    return Format.table if sys.stdout.isatty() else Format.csv


def _print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        # Text, because a file name may hold what rich takes for markup.
        table.add_row(*map(Text, row))
    # In a pipe there is no width to fit into.
    width = None if sys.stdout.isatty() else 10_000
    Console(file=sys.stdout, width=width).print(table)


def _shown(path: str) -> str:
    """A file name as it can be printed."""
    return path.encode("utf-8", "replace").decode("utf-8")


if __name__ == "__main__":
    main()
