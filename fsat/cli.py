"""The command `fsat`: tag sounds, in a terminal or on a page; choose parameters; check this machine and labels.

Heavy imports (NumPy, pydantic) are inside the commands, so that `fsat --help` answers at once.
"""

import io
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from fsat import verify
from fsat.core.errors import FsatError, escaped, one_line
from fsat.scoring.names import Stage

if TYPE_CHECKING:
    from fsat.tagger.events import Event
    from fsat.tagger.results import Tagged

DEFAULT_BUNDLE = Path("data/bundle")
# Below a table of a bundle with sigmoid outputs.
INDEPENDENT = "Each label has a probability of its own: a sound may have several labels, and they do not sum to 100 %."
_LONGEST_NAME = 4096  # that Linux takes

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main() -> None:
    """Entry point of the command: a problem the user can mend is shown as its message, without a traceback."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # a closed stream: the first file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - till the process ends
    try:
        app()
    except FsatError as error:
        sys.exit(f"fsat: {escaped(error)}")


TagFormat = Literal["table", "json", "csv", "audacity", "raven"]


ModelOption = Annotated[Path, typer.Option("--model", metavar="FOLDER", help="Model bundle.")]
StageOption = Annotated[
    Stage | None,
    typer.Option(help="Networks alone: stage2, mel + PCA; stage1, mel, faster.  [default: the submission]"),
]
FoldsOption = Annotated[int | None, typer.Option(metavar="N", help="Use the first N folds.  [default: all]")]
LengthsOption = Annotated[int | None, typer.Option(metavar="N", help="Lengths a fold.  [default: the bundle's]")]
TriesOption = Annotated[int | None, typer.Option(metavar="N", help="Passes a length.  [default: the bundle's]")]


@app.callback()
def fsat() -> None:
    """Tag sounds with a trained model, and look after the pipeline that trains it."""


# fsat tag ----------------------------------------------------------------------------------------------------------


@app.command()
def tag(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help="Sound files, folders of them, or -: names on stdin, one a line."),
    ] = None,
    model: ModelOption = DEFAULT_BUNDLE,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Labels a file.")] = 3,
    form: Annotated[
        TagFormat | None, typer.Option("--format", help="How to print.  [default: table on a terminal, csv in a pipe]")
    ] = None,
    segments: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Tag windows of this length instead of whole files.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="From window to window.  [default: no overlap]")
    ] = None,
    events: Annotated[
        bool,
        typer.Option("--events", help="Join neighbouring windows with a label; 1 s every 0.25 s, unless told others."),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="With --events: least probability of a label in a window.  [default: the label's, or 0.5]"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write into this file; label files of recordings into this folder."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a half-written --output in CSV: files it holds are skipped.")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write the network's features, mean over passes and folds: .npz or .parquet."
        ),
    ] = None,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Columns with bundle, its version, threshold: CSV, JSON, Raven.")
    ] = False,
    stage: StageOption = None,
    folds: FoldsOption = None,
    lengths: LengthsOption = None,
    tries: TriesOption = None,
) -> None:
    """Tag sound files: any length, rate, number of channels and format that libsndfile, or PyAV where installed, reads.

    Fewer folds, lengths or tries are faster and less accurate. A sound that is unlike all training clips is marked as
    none of the labels, where the bundle holds what that needs. The exit code is 1 if a file could not be tagged; the
    others are tagged all the same.
    """
    form = form or ("table" if output is None and sys.stdout is not None and sys.stdout.isatty() else "csv")
    if events and embeddings is not None:
        raise FsatError("--embeddings are of files or windows, not of --events.")
    if provenance and form not in ("csv", "json", "raven"):
        raise FsatError(f"--provenance is for --format csv, json or raven. Got {form}.")
    if resume and (output is None or form != "csv" or embeddings is not None):
        raise FsatError("--resume goes on with a CSV: it needs --output and --format csv, without --embeddings.")
    from fsat.scoring.thresholds import HOP_S, SEGMENT_S, UNCHOSEN
    from fsat.tagger import bundle, destination
    from fsat.tagger import output as printing

    if output is not None:
        destination.refuse_sounds(output, inputs or [], embeddings=embeddings)
    if embeddings is not None:
        printing.check_embeddings(embeddings)
    names = _expand(inputs or [])
    first_two = list(islice(names, 2))
    if not first_two:
        how = "name sound files or folders of them, or - for names on stdin (`fsat tag --help`)."
        raise FsatError(f"nothing to tag: {how}")
    opened = bundle.read(model)
    level: float | Mapping[str, float] = UNCHOSEN if threshold is None else threshold
    if events:
        hop = hop if hop is not None else HOP_S if segments is None else segments
        segments = SEGMENT_S if segments is None else segments
        if threshold is None and (chosen := opened.manifest.events) is not None:
            level = chosen.threshold
            if chosen.source == "recordings" and (segments, hop) != (chosen.segment_s, chosen.hop_s):
                windows = f"windows of {chosen.segment_s:g} s every {chosen.hop_s:g} s"
                print(f"fsat: the labels' thresholds are for {windows}; --threshold sets another", file=sys.stderr)
    many = len(first_two) > 1 and not (output is not None and output.is_dir())
    if form == "audacity" and many:
        raise FsatError("--format audacity has a label file a recording: name a folder with --output, or one file.")

    from fsat.tagger.events import events_of
    from fsat.tagger.results import Ended, Failed
    from fsat.tagger.tagger import Tagger

    tagger = Tagger(opened, stage=stage, n_folds=folds, lengths=lengths, tries=tries, embeddings=embeddings is not None)
    top = min(top, len(opened.manifest.labels))
    marks = tagger.marks_unknown and not events
    columns = {"top": top, "with_times": segments is not None, "events": events, "marks": marks}
    heads = printing.csv_heads(provenance=provenance, **columns)  # type: ignore[arg-type]
    made_by = tagger.described | {"segments": segments, "hop": hop or segments, "columns": ", ".join(heads)}
    made_by |= {"threshold": threshold if threshold is not None or not events else "of each label"}

    def origin(result: "Tagged | Event") -> dict[str, Any]:
        label = getattr(result, "label", "")
        least = level.get(label, UNCHOSEN) if isinstance(level, Mapping) else level
        version = str(tagger.described["bundle"])[:12]  # of the sha256 of bundle.json
        values = (opened.manifest.dataset.name, version, least if events else None)
        return dict(zip(printing.PROVENANCE_HEADS, values, strict=True))

    n_asked = 0
    failed: list[Failed] = []
    kept: list[Tagged] = []
    opening = destination.opened(output, form=form, heads=heads, made_by=made_by, resume=resume, inputs=inputs or [])
    with opening as place:

        def asked() -> Iterator[str]:
            nonlocal n_asked
            for name in _not_done(chain(first_two, names), place.done):
                n_asked += 1
                place.begin(name)
                yield name

        is_watched = len(first_two) > 1 and sys.stderr.isatty()
        tagged = tagger.tag_with_ends(asked(), segment_s=segments, hop_s=hop, progress=is_watched)
        results: Iterator[Tagged | Event | Failed | Ended] = (
            events_of(tagged, level, hop_s=hop or 0.0) if events else tagged
        )

        def new_printer() -> printing.Printer:
            return printing.Printer(
                place.stream,
                form=form,
                highest_hz=opened.manifest.preprocessing.mel.sample_rate / 2,
                header=place.needs_header,
                many=many,
                provenance=origin if provenance else None,
                note=INDEPENDENT if opened.manifest.activation == "sigmoid" else "",
                **columns,  # type: ignore[arg-type]
            )

        printer = new_printer()
        for result in results:
            if isinstance(result, Failed | Ended):
                if isinstance(result, Failed):
                    failed.append(result)
                    place.broken(result.path)
                else:
                    place.ended(result.path)
                printer.ended(result.seconds if isinstance(result, Ended) else 0.0)
                if isinstance(place, destination.Folder):
                    printer = new_printer()
            else:
                printer.add(result)
                if embeddings is not None:
                    kept.append(cast("Tagged", result))
        printer.end()
    for failure in failed:
        print(f"fsat: {one_line(failure.path)}: {one_line(failure.reason)}", file=sys.stderr)
    if embeddings is not None:
        printing.write_embeddings(embeddings, kept)
    if failed:
        print(f"fsat: {len(failed)} of {n_asked} files could not be tagged", file=sys.stderr)
        raise typer.Exit(1)


def _not_done(names: Iterable[str], done: "Counter[str]") -> Iterator[str]:
    """Names that a resumed CSV does not hold yet; one that is asked for twice is tagged twice."""
    left = done.copy()
    for name in names:
        if left[name] > 0:
            left[name] -= 1
        else:
            yield name


def _expand(inputs: Iterable[str]) -> Iterator[str]:
    """Names of the files meant; a folder stands for the sound files below it, by name."""
    for name in inputs:
        if name == "-":
            yield from _names_on_stdin()
        elif Path(name).is_dir():
            yield from _sounds_below(Path(name))
        else:
            yield name


def _names_on_stdin() -> Iterator[str]:
    """Names, one a line; a line that does not end is not waited for."""
    if sys.stdin is None:
        raise FsatError("standard input is closed: it has no names.")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")  # a name may be any bytes
    while line := sys.stdin.readline(_LONGEST_NAME + 2):
        if len(line) > _LONGEST_NAME:
            raise FsatError(f"standard input has a line of more than {_LONGEST_NAME} characters: no list of names.")
        if "\0" in line:
            how = "`iconv -f UTF-16 -t UTF-8` converts a list in UTF-16; `find` needs -print, not -print0"
            raise FsatError(f"standard input has zero bytes: names are UTF-8 text, one a line ({how}).")
        if line.strip():
            yield line.rstrip("\r\n")


def _sounds_below(folder: Path) -> list[str]:
    from fsat.clips.clip_files import AUDIO_SUFFIXES, files_below, is_audio

    found = sorted(str(folder / name) for name in files_below(folder) if is_audio(name))
    if not found:
        raise FsatError(f"{folder}: no sound files in this folder ({', '.join(AUDIO_SUFFIXES[:6])} ...).")
    return found


# fsat app ----------------------------------------------------------------------------------------------------------


@app.command("app")
def serve_app(
    model: ModelOption = DEFAULT_BUNDLE,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to serve at; not 127.0.0.1: others can use the page.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="Port.  [default: the first free from 7860]")
    ] = None,
    stage: StageOption = None,
    folds: FoldsOption = None,
    lengths: LengthsOption = None,
    tries: TriesOption = None,
) -> None:
    """Serve a web page that tags sounds dropped on it or recorded by its microphone; needs the extra `app`.

    Nothing leaves this machine, and uploads are deleted when the command ends.
    """
    from fsat.app import page
    from fsat.tagger.tagger import Tagger

    page.serve(Tagger(model, stage=stage, n_folds=folds, lengths=lengths, tries=tries), host=host, port=port)


# fsat preset -------------------------------------------------------------------------------------------------------


@app.command()
def preset(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Preset.  [default: list them]")] = None,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Other values, such as dataset.path=sounds.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite uncommitted edits of params.yaml.")] = False,
) -> None:
    """Write params.yaml from a preset, or list the presets. Run it in the project's folder."""
    from fsat import presets
    from fsat.core import params

    if name is None:
        for found, what in presets.listed().items():
            print(f"{found:22s}  {what}")
        return
    presets.write(name, values or [], force=force)
    folder = params.read().dataset.path
    is_there = Path(folder).is_dir() or folder.startswith("data/")  # where sources/dvc.yaml makes datasets
    after = "dvc repro" if is_there else f"put the clips into {folder}, a folder that is not there yet; then dvc repro"
    print(f"params.yaml is that of the preset {name}{' with your values' if values else ''}. Next: {after}")


# fsat doctor -------------------------------------------------------------------------------------------------------


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Do not start TensorFlow to see what it finds.")] = False,
) -> None:
    """Say what this machine offers for the pipeline and what is missing. Run it in the project's folder."""
    from fsat import doctor as checks

    found, indent = [], "\n" + " " * 22
    for check in checks.examine(Path(), start_tensorflow=not quick):
        found.append(check)
        print(f"{check.status:8s}  {check.name:10s}  {indent.join(map(one_line, check.text.splitlines()))}", flush=True)
    missing = sum(check.status == "missing" for check in found)
    if missing:
        print(f"fsat: {missing} of {len(found)} checks say that something needed is missing", file=sys.stderr)
        raise typer.Exit(1)


app.command()(verify.verify)


if __name__ == "__main__":
    main()
