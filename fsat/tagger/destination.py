"""Where `fsat tag` writes: standard output, a pipe, a file that appears when it is whole, a CSV that can be resumed.

Beside the CSV ``tags.csv`` lie ``.tags.csv.rows.part``, its rows until it is whole, and ``.tags.csv.journal``, one JSON
object a line: first what makes the rows, then each file whose rows are all written and where they end, last the digest
of the whole table.
"""

import csv
import hashlib
import io
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, BinaryIO, TextIO

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.tagger.output import LABEL_FORMATS, told


@dataclass
class Direct:
    """A stream that shows each result as it comes.

    Attributes
    ----------
    stream : TextIO
        Takes the rows.
    needs_header : bool
        Whether the rows need a line of column names.
    done : Counter of str
        How often each file is in the table already.
    """

    stream: TextIO
    needs_header: bool = True
    done: Counter[str] = field(default_factory=Counter)

    def begin(self, path: str) -> None:
        """A file will be tagged: `FsatError` if what is said of it has no place."""

    def ended(self, path: str) -> None:
        """The rows of a file are all in the stream."""

    def broken(self, path: str) -> None:
        """The rows in the stream are all that a file has, because it is damaged."""


class Folder(Direct):
    """A folder with a label file a recording, as deep below it as the recording is below an input that is a folder."""

    def __init__(self, folder: Path, *, form: str, inputs: Sequence[str]) -> None:
        super().__init__(io.StringIO())
        self._folder, self._end, self._taken = folder, LABEL_FORMATS[form], set[Path]()
        self._roots = [name for name in inputs if Path(name).is_dir()]

    def begin(self, path: str) -> None:
        """Refuse to write over a file, which may have been corrected by hand."""
        place = self._place(path)
        if place in self._taken or place.exists():
            how = "Remove it, or name another folder."
            raise FsatError(f"--output: {place}, for the labels of {path}, is there already. {how}")
        self._taken.add(place)

    def ended(self, path: str) -> None:
        """Write the label file of a recording."""
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(place, _drained(self.stream))

    def broken(self, path: str) -> None:
        """Write what was found before the damage, if anything was."""
        n_head = int(self._end == LABEL_FORMATS["raven"])
        if (text := _drained(self.stream)).count("\n") > n_head:
            self.stream.write(text)
            self.ended(path)

    def _place(self, path: str) -> Path:
        root = next((root for root in self._roots if PurePath(path).is_relative_to(root)), None)
        name = PurePath(path).relative_to(root) if root is not None else PurePath(PurePath(path).name)
        return self._folder / name.with_name(f"{name.stem}{self._end}")


class Table(Direct):
    """A CSV, to which the rows of a file are added when it has ended. Rows of damaged files come at its end."""

    def __init__(self, part: BinaryIO, journal: BinaryIO, *, end: int, done: Counter[str]) -> None:
        super().__init__(io.StringIO(), needs_header=False, done=done)
        self._part, self._journal, self._end = part, journal, end
        self._broken: list[str] = []

    def ended(self, path: str) -> None:
        """Write the rows of a file, and that it is done."""
        self._end += _append(self._part, _drained(self.stream).encode("utf-8"))
        _note(self._journal, {"path": path, "end": self._end})

    def broken(self, path: str) -> None:
        """Keep the rows of a damaged file, which is no file that is done."""
        self._broken.append(_drained(self.stream))

    def finish(self) -> None:
        """Write what was kept, and what the whole table is known by."""
        _append(self._part, "".join(self._broken).encode("utf-8"))
        _note(self._journal, {"sha256": _digest(self._part)})


def _drained(stream: TextIO) -> str:
    """What is in a stream in memory, which is empty afterwards."""
    text: str = stream.getvalue()  # type: ignore[attr-defined]
    stream.seek(0)
    stream.truncate()
    return text


@contextmanager
def opened(
    output: Path | None,
    *,
    form: str,
    heads: Sequence[str],
    made_by: Mapping[str, Any],
    resume: bool,
    inputs: Sequence[str] = (),
) -> Iterator[Direct]:
    """Open where results go: a file of any form but CSV is there when it is whole, a CSV see `Table`.

    Parameters
    ----------
    output : Path or None
        None is standard output.
    heads : sequence of str
        Columns of a CSV.
    made_by : mapping
        All that decides the rows of a file; values that JSON has.
    resume : bool
        Go on with the CSV that is there.
    inputs : sequence of str
        What was asked for on the command line, of which `Folder` needs the folders.

    Raises
    ------
    FsatError
        If nothing can be written there, another process is writing the table, or it is not one to resume.
    """
    with told("standard output" if output is None else f"--output: {output}"):
        if output is None:
            with _silent_after_an_error():
                yield Direct(_stdout())
        elif _is_stream(output):
            if resume:
                raise FsatError(f"--resume: {output} is no file, so that nothing in it can be gone on with.")
            with output.open("w", encoding="utf-8", newline="") as stream:
                yield Direct(stream)
        elif output.is_dir() and form in LABEL_FORMATS:
            yield Folder(output, form=form, inputs=inputs)
        elif output.is_dir() or not output.parent.is_dir():
            why = "is a folder" if output.is_dir() else "is in a folder that does not exist"
            raise FsatError(f"--output: {output} {why}. Name a file.")
        elif form == "csv":
            with _table(output, heads, made_by, resume=resume) as table:
                yield table
        else:
            with files.atomic_file(output) as part, part.open("w", encoding="utf-8", newline="") as stream:
                yield Direct(stream)


def refuse_sounds(output: Path, inputs: Sequence[str], *, embeddings: Path | None = None) -> None:
    """Refuse an output that is an input, a sound, or the file of embeddings; `inputs` are those of the command line."""
    from fsat.clips import audio
    from fsat.clips.clip_files import is_audio

    how = "--output takes one name, that of the table: `--output tags.csv FILES`."
    if not output.is_dir() and any(os.path.realpath(name) == os.path.realpath(output) for name in inputs):
        raise FsatError(f"--output: {output} is also a file to tag. {how}")
    with suppress(OSError):  # standard input is closed, or there is no such output yet
        if "-" in inputs and os.path.samestat(os.fstat(0), output.stat()):
            raise FsatError(f"--output: {output} is also the list of names on standard input. {how}")
    if embeddings is not None and os.path.realpath(embeddings) == os.path.realpath(output):
        raise FsatError(f"--output and --embeddings are both {output}. They need two names.")
    if is_audio(output.name) or audio.announced_seconds(output):
        raise FsatError(f"--output: {output} is a sound, or has the suffix of one. {how}")


@contextmanager
def _silent_after_an_error() -> Iterator[None]:
    """Standard output that could not be written takes no more: what is left in it would fail again at the end."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _stdout() -> TextIO:
    """Standard output, which takes every name: as UTF-8, or on a terminal of another encoding as Python spells it."""
    if sys.stdout is None:
        raise FsatError("standard output is closed: name a file with --output.")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="backslashreplace")
    return sys.stdout


def _is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a device, or a name for an open stream such as /dev/stdout."""
    is_open_stream = path.parent.as_posix() in ("/dev", "/dev/fd", "/proc/self/fd")
    return is_open_stream or (path.exists() and not path.is_file() and not path.is_dir())


# A table that can be resumed -----------------------------------------------------------------------------------------


@dataclass
class _Journal:
    """What a journal says: `digest` is that of the whole table, if it became whole; `size` is in bytes."""

    made_by: dict[str, Any]
    end: int
    done: Counter[str]
    digest: str | None
    size: int


@contextmanager
def _table(output: Path, heads: Sequence[str], made_by: Mapping[str, Any], *, resume: bool) -> Iterator[Table]:
    part = output.with_name(f".{output.name}.rows.part")
    with _locked(output) as journal:
        found = _resumable(output, part, journal, dict(made_by)) if resume else None
        if found is None:
            files.new_file(part)
        with part.open("r+b", buffering=0) as rows:
            if found is None:
                line = io.StringIO()
                csv.writer(line, lineterminator="\n").writerow(heads)
                end, done = _append(rows, line.getvalue().encode("utf-8")), Counter[str]()
                journal.truncate(0)
                _note(journal, {"made_by": made_by, "end": end})
            else:
                end, done = found.end, found.done
                journal.truncate(found.size)
                rows.truncate(end)
                rows.seek(end)
            table = Table(rows, journal, end=end, done=done)
            yield table
            table.finish()
        part.replace(output)


@contextmanager
def _locked(output: Path) -> Iterator[BinaryIO]:
    """The journal of a table, open and locked until this process ends or leaves."""
    import fcntl

    path = output.with_name(f".{output.name}.journal")
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "r+b", buffering=0) as stream:
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            raise FsatError(f"--output: {path} is not a file of yours. Name another --output, or remove it.")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            how = "Wait until it has ended, or name another --output."
            raise FsatError(f"--output: another `fsat tag` is writing {output}. {how}") from error
        yield stream


def _resumable(output: Path, part: Path, journal: BinaryIO, made_by: dict[str, Any]) -> _Journal | None:
    """What a run before has done, its rows in `part`; None if there is nothing. `FsatError` if it is not to resume."""
    how = "It was left as it is. Name another --output; without --resume a new table takes its place."
    found = _read(journal)
    if found is None:
        if not output.exists():
            return None
        raise FsatError(f"--resume: {output} has no journal that says which files are in it. {how}")
    if found.made_by != (now := json.loads(json.dumps(made_by))):
        keys = [key for key in now if found.made_by.get(key) != now[key]]
        other = ", ".join(f"{key} {_short(found.made_by.get(key))}, now {_short(now[key])}" for key in keys)
        raise FsatError(f"--resume: {output} was made with other options ({other or 'more'}). {how}")
    if part.is_file() and not part.is_symlink() and part.stat().st_size >= found.end:
        return found
    if not output.exists():
        return None
    with output.open("rb") as rows:
        if found.digest != _digest(rows):
            raise FsatError(f"--resume: {output} has changed since it was written. {how}")
        files.new_file(part)
        rows.seek(0)
        with part.open("wb") as copy:
            while block := rows.read(1 << 20):
                copy.write(block)
    return found


def _read(journal: BinaryIO) -> _Journal | None:
    """Read a journal, without a line that does not end; None if it is none."""
    journal.seek(0)
    found = None
    try:
        for line in journal.read().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            if found is None:
                found = _Journal(entry["made_by"], int(entry["end"]), Counter(), None, 0)
            elif "path" in entry:
                found.done[str(entry["path"])] += 1
                found.end, found.digest = int(entry["end"]), None
            else:
                found.digest = str(entry["sha256"])
            found.size += len(line)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found


def _note(journal: BinaryIO, entry: Mapping[str, Any]) -> None:
    _append(journal, json.dumps(entry).encode("ascii") + b"\n")


def _append(stream: BinaryIO, data: bytes) -> int:
    """Write all bytes to a stream without a buffer, and return their number."""
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]
    return len(data)


def _digest(stream: BinaryIO) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
