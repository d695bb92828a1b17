"""Whether what a stage depends on stayed as it was: DVC hashes parameters, code and data only when the stage has ended.

A note says what a stage was run with. It is compared with what is there when the stage ends, and, because DVC hashes
some moments later, with `dvc.lock` before the next stage. Contents decide, not times.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fsat.core import dvc_files, files, loaded_code
from fsat.core.errors import FsatError, listed

NOTES = Path("state/notes")
TRAININGS = Path("state/training")
_WAIT_S = 10.0  # for somebody who is saving params.yaml
_HELD = 64  # dependencies of so many files are held open

Stat = tuple[int, int, int]  # size, time of change in ns, inode


@dataclass
class Note:
    """What a stage was run with."""

    stage: str  # as in the lock
    graph: str  # file that declares it
    before: str  # its entry in the lock when it began
    values: dict[str, dict[str, Any]]  # parameter file -> key -> value
    code: dict[str, str]  # dependency, a module or a folder of them -> md5
    md5: dict[str, str]  # what is known of the contents of data: an output, a dataset, a file -> md5
    data: dict[str, str]  # dependency -> digest of the sizes and times of its files
    outs: dict[str, str] = field(default_factory=dict)  # output -> md5
    head: str = ""  # git's last commit when it ended
    ended: float = 0.0  # seconds since 1970

    @property
    def lock(self) -> str:
        """File that has its entry."""
        return dvc_files.GRAPHS[self.graph]

    @property
    def target(self) -> str:
        """What `dvc repro` calls it."""
        return self.stage if self.graph == "dvc.yaml" else f"{self.graph}:{self.stage}"


@dataclass
class Watch:
    """A running stage."""

    note: Note
    stage: dvc_files.Stage
    stats: dict[str, dict[str, Stat]]  # dependency -> file -> stat
    held: Sequence[BinaryIO]  # so that no other file gets the inode of one that is replaced


# The stage of this process.
running: list[Watch] = []


def find(module: str, arguments: Sequence[str]) -> dvc_files.Stage | None:
    """The stage that runs this module with these arguments; None where no graph of this folder has it."""
    if not Path("params.yaml").is_file():  # the stage says what to do
        return None
    return dvc_files.declared(module, arguments, _read("params.yaml"))


def start(stage: dvc_files.Stage) -> Watch:
    """Note what a stage depends on."""
    code = _code(stage.deps, loaded_code.LOADED)
    data = [path for path in stage.deps if path not in code]
    known = dvc_files.indexed() | dvc_files.outputs()
    known = {out: md5 for out, md5 in known.items() if any(_is_in(out, path) for path in data) and Path(out).exists()}
    # No stage wrote it: a table, weights of one's own.
    known |= {path: dvc_files.md5(path) for path in data if path not in known and Path(path).is_file()}
    stats = {path: _stats(path) for path in data}
    names = [name for found in stats.values() for name in found]
    note = Note(
        stage=stage.name,
        graph=stage.graph,
        before=dvc_files.entries(dvc_files.GRAPHS[stage.graph]).get(stage.name, ""),
        values={file: dvc_files.chosen(_read(file), keys) for file, keys in stage.params.items()},
        code=code,
        md5=known,
        data={path: _digest(found) for path, found in stats.items()},
    )
    held = [Path(name).open("rb") for name in names] if len(names) <= _HELD else []  # noqa: SIM115 (to the stage's end)
    running.append(Watch(note, stage, stats, held))
    return running[-1]


def finish(watch: Watch) -> None:
    """Compare with what is there now, and keep the note for `refuse_false_entries`.

    `FsatError` names what has changed while the stage ran.
    """
    note = watch.note
    compare(watch)
    if note.stage == "index":  # of a dataset that no stage wrote nothing was known
        note.md5 |= {path: dvc_files.md5(path) for path in watch.stats if path not in dvc_files.outputs()}
    note.data = {path: _digest(_stats(path)) for path in watch.stats}
    note.outs = {out: dvc_files.md5(out) for out in watch.stage.outs}
    note.head, note.ended = dvc_files.head(), time.time()
    try:
        files.write_json(NOTES / f"{note.stage}.json", asdict(note))
    except OSError as error:
        print(f"note: {NOTES}: {error.strerror}; an edit until DVC has looked would not be found", file=sys.stderr)


def compare(watch: Watch) -> None:
    """`FsatError` names what is no longer as it was when the stage began."""
    note, proofs = watch.note, dict[str, bool]()
    modules, lines = loaded_code.digests(), list(_changed_values(note.values))
    code = _code(note.code, modules)
    for path in (path for path, md5 in note.code.items() if code.get(path) != md5):
        names = [name for name, _, _ in _different(loaded_code.LOADED, modules) if _is_in(name, path)]
        lines.append(listed(names or [path]))
    is_written_into = False
    for path, before in watch.stats.items():
        now = _stats(path)
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        changed = [name for name in names if not _is_proved(name, before, now, note.md5, proofs)]
        lines += [listed(changed)] if changed else []
        is_written_into |= any(name in now and name in before and now[name][2] == before[name][2] for name in changed)
    if not lines:
        return
    advice = "Run `dvc repro` with what is there now, or put it back first: a finished training is then taken up."
    if is_written_into and watch.held:  # the training may have read it, as it maps frames into memory
        for kept in TRAININGS.glob(f"{note.stage.replace('@', '-fold')}-*"):
            remove(kept)
        advice = "Run `dvc repro`. A file was written into, not replaced, so that a training starts anew."
    what = "changed while this stage ran, so its result is not recorded:"
    raise FsatError("\n  ".join([what, *lines]) + f"\n{advice}")


def _read(path: str) -> Any:
    """Content of a YAML file; `FsatError` if it stays unreadable, as somebody may be saving it."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            return files.read_yaml(path)
        except FsatError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _changed_values(noted: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for file, before in noted.items():
        try:
            now = dvc_files.chosen(_read(file), list(before))
        except FsatError as error:
            yield str(error)
        else:
            yield from (f"{file}: {key} was {old!r}, is {new!r}" for key, old, new in _different(before, now))


def _different(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys whose values differ, sections value by value; None for a value that is not there."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _different(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _is_proved(
    name: str, before: Mapping[str, Stat], now: Mapping[str, Stat], known: Mapping[str, str], proofs: dict[str, bool]
) -> bool:
    """Whether a file of another time is in something whose content is what it was; `proofs` keeps what was hashed."""
    if name not in before or name not in now or before[name][0] != now[name][0]:
        return False
    for out in (out for out in known if _is_in(name, out)):
        if out not in proofs:
            proofs[out] = dvc_files.md5(out) == known[out]
        return proofs[out]
    return False


def _code(deps: Iterable[str], modules: Mapping[str, str]) -> dict[str, str]:
    """md5, as DVC has it, of dependencies that are modules or folders of modules; `modules`: md5 of each by path."""
    found = {}
    for dep in deps:
        if dep in modules:
            found[dep] = modules[dep]
        elif listing := {path.removeprefix(f"{dep}/"): md5 for path, md5 in modules.items() if _is_in(path, dep)}:
            found[dep] = dvc_files.listing_md5(listing)
    return found


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _stats(path: str) -> dict[str, Stat]:
    """Size, time and inode of a file, or of each file of a folder; what cannot be looked at is left out."""
    found = {}
    paths = [Path(path, name) for name in dvc_files.files_of(path)] if Path(path).is_dir() else [Path(path)]
    for one in paths:
        try:
            stat = one.stat()
        except OSError:
            continue
        found[str(one)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def _digest(stats: Mapping[str, Stat]) -> str:
    return hashlib.blake2b(repr(sorted(stats.items())).encode(), digest_size=16).hexdigest()


# After a stage ------------------------------------------------------------------------------------------------------


def remove(path: Path) -> None:
    """Remove a file or folder of `TRAININGS` at once: what is left of a killed removal has another name."""
    gone = path.with_name(f".{path.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):  # another stage was faster
        path.rename(gone)
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()


def is_recorded(stage: str, folder: Path) -> bool:
    """Whether `dvc.lock` names, as the output of this stage, what is in the folder, and DVC's cache holds it."""
    outs = dvc_files.entry(dvc_files.entries("dvc.lock").get(stage, "")).get("outs", [])
    md5 = dvc_files.md5(folder)
    return any(out.get("md5") == md5 for out in outs) and dvc_files.cached_listing(md5) is not None


def refuse_false_entries(*, besides: str = "") -> None:
    """`FsatError` if `dvc.lock` says of a stage what its note denies; what the lock confirms is cleared away.

    DVC hashed an edit that was made after the stage had ended. `besides` is a stage that runs anew anyway.
    """
    lines = []
    for path in sorted(NOTES.glob("*.json")):
        try:
            note = Note(**files.read_json(path))
            text = dvc_files.entries(note.lock).get(note.stage, "")
        except (FsatError, TypeError, KeyError):  # cleared away by another stage, or of another version of this module
            continue
        entry = dvc_files.entry(text)
        if "outs" not in entry:
            continue
        denied = list(_denied(note, entry))
        if not denied:
            for kept in TRAININGS.glob(f"{note.stage.replace('@', '-fold')}-*/"):
                if is_recorded(note.stage, kept):
                    remove(kept)
            path.unlink(missing_ok=True)
        elif text == note.before or note.stage == besides:
            continue
        elif _is_of_this_run(note, entry, text):
            for record in dvc_files.runs(entry):
                record.unlink(missing_ok=True)
            advice = f"Run `dvc repro --force --single-item {note.target}`."
            lines.append(f"{note.lock}: {note.stage}: {'; '.join(denied)}. {advice}")
        else:
            path.unlink(missing_ok=True)
    if lines:
        what = "the lock says of a stage what it was not run with: an edit came between its end and DVC's look."
        raise FsatError("\n  ".join([what, *lines]))


def _is_of_this_run(note: Note, entry: Mapping[str, Any], text: str) -> bool:
    """Whether DVC wrote an entry after the noted run: neither restored from the run cache, nor pulled by git, since."""
    outs = {out["path"]: out.get("md5") for out in entry["outs"]}
    if any(md5 != outs.get(path) for path, md5 in note.outs.items()):
        return False
    if any(record.stat().st_mtime < note.ended for record in dvc_files.runs(entry)):
        return False
    return note.head == dvc_files.head() or not dvc_files.is_committed(note.lock, note.stage, text)


def _denied(note: Note, entry: Mapping[str, Any]) -> Iterator[str]:
    """What an entry of the lock says of dependencies, and the note does not."""
    for file, values in note.values.items():
        recorded = entry.get("params", {}).get(file, values)
        yield from (f"{file}: {key} was {old!r}, not {new!r}" for key, old, new in _different(values, recorded))
    for dep in entry.get("deps", []):
        path, md5 = os.path.normpath(dep["path"]), dep.get("md5")
        if path in note.code:
            if md5 != note.code[path]:
                yield f"{path} was another"
        elif path in note.data and _digest(_stats(path)) != note.data[path]:
            expected = _expected(path, note.md5)
            if expected and md5 != expected:
                yield f"{path} was another"


def _expected(path: str, known: Mapping[str, str]) -> str:
    """md5 of a dependency as it was, by that of the outputs in it; empty if it is not known."""
    if path in known:
        return known[path]
    listing: dict[str, str] = {}
    for out, md5 in known.items():
        if _is_in(out, path):
            inner = dvc_files.cached_listing(md5) if md5.endswith(".dir") else {"": md5}
            if inner is None:
                return ""
            at = out.removeprefix(f"{path}/")
            listing |= {f"{at}/{name}".rstrip("/"): value for name, value in inner.items()}
    return dvc_files.listing_md5(listing) if listing else ""
