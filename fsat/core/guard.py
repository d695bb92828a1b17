"""Whether what a stage depends on stayed as it was: DVC hashes parameters, code and data only when the stage has ended.

A note says what a stage was run with. It is compared with what is there when the stage ends, and, because DVC hashes
some moments later, with `dvc.lock` before the next stage. Contents decide, not times.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fsat.core import dvc_files, files, loaded_code
from fsat.core.errors import FsatError, listed

NOTES = Path("state/notes")
TRAININGS = Path("state/training")
_WAIT_S = 10.0  # for somebody who is saving params.yaml
_HASHED_BYTES = 32 * 2**20  # outputs up to this size are known again by their content, larger ones by size and time

Stat = tuple[int, int, int]  # size, time of change in ns, inode


@dataclass
class Note:
    """What a stage was run with."""

    stage: str
    lock: str
    before: str  # the stage's entry in the lock when it began
    values: dict[str, dict[str, Any]]  # parameter file -> key -> value
    code: dict[str, str]  # module -> md5
    md5: dict[str, str]  # what is known of the contents of data: an output, a file -> md5
    data: dict[str, str]  # dependency -> digest of the sizes and times of its files
    outs: dict[str, str] = field(default_factory=dict)  # output -> md5, or digest of sizes and times


@dataclass
class Watch:
    """A running stage."""

    note: Note
    outs: list[str]
    stats: dict[str, dict[str, Stat]]  # dependency -> file -> stat


def start(command: str) -> Watch | None:
    """Note what the stage with this command depends on; None where no graph of this folder has it."""
    try:
        stage = dvc_files.declared(command, files.read_yaml("params.yaml"))
        values = {file: dvc_files.chosen(file, keys) for file, keys in stage.params.items()} if stage else {}
    except FsatError:  # the stage itself says what is wrong with its parameters
        return None
    if stage is None:
        return None
    data = [path for path in stage.deps if path not in loaded_code.LOADED]
    known = dvc_files.known_md5(dataset=stage.name != "index")
    known = {out: md5 for out, md5 in known.items() if Path(out).exists()}
    inside = {out: md5 for out, md5 in known.items() if any(_is_in(out, path) for path in data)}
    # No stage wrote it: a table, weights of one's own.
    inside |= {path: dvc_files.md5(path) for path in data if path not in inside and Path(path).is_file()}
    stats = {path: _stats(path) for path in data}
    note = Note(
        stage=stage.name,
        lock=stage.lock,
        before=dvc_files.entries(stage.lock).get(stage.name, ""),
        values=values,
        code={path: loaded_code.LOADED[path] for path in stage.deps if path in loaded_code.LOADED},
        md5=inside,
        data={path: _digest(found) for path, found in stats.items()},
    )
    return Watch(note, stage.outs, stats)


def finish(watch: Watch) -> None:
    """Compare with what is there now, and keep the note for `false_entries`.

    `FsatError` names what has changed while the stage ran.
    """
    note = watch.note
    lines = [*_changed_values(note.values), *_changed_code(note.code)]
    for path, before in watch.stats.items():
        now = _stats(path)
        note.data[path] = _digest(now)
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        changed = [name for name in names if not _is_proved(name, note.md5)]
        if changed:
            lines.append(listed(changed, limit=5))
        if any(name in now and name in before and now[name][2] == before[name][2] for name in changed):
            # Written into the file that the training had open: what it has learned from is not known.
            for kept in trainings(note.stage):
                shutil.rmtree(kept)
    if lines:
        raise FsatError(
            "\n  ".join(["changed while this stage ran, so its result is not recorded:", *lines])
            + "\nRun `dvc repro` with what is there now, or put it back first: a finished training is then taken up."
        )
    size = sum(path.stat().st_size for out in watch.outs for path in _paths(out))
    note.outs = {out: dvc_files.md5(out) if size <= _HASHED_BYTES else _digest(_stats(out)) for out in watch.outs}
    files.write_json(NOTES / f"{note.stage}.json", asdict(note))


def _changed_values(noted: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for file, before in noted.items():
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                now = dvc_files.chosen(file, list(before))
                break
            except FsatError as error:
                if time.monotonic() > deadline:
                    yield str(error)
                    return
                time.sleep(0.2)
        yield from (f"{file}: {key} was {old!r}, is {new!r}" for key, old, new in _different(before, now))


def _different(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys whose values differ, sections value by value; None for a value that is not there."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _different(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _changed_code(noted: Mapping[str, str]) -> Iterator[str]:
    now = loaded_code.digests()
    yield from (path for path, md5 in noted.items() if now.get(path) != md5)


def _is_proved(name: str, known: Mapping[str, str]) -> bool:
    """Whether a file of another size or time is in something whose content is what it was."""
    return any(_is_in(name, out) and dvc_files.md5(out) == md5 for out, md5 in known.items())


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _paths(path: str) -> list[Path]:
    return [Path(path, name) for name in dvc_files.files_of(path)] if Path(path).is_dir() else [Path(path)]


def _stats(path: str) -> dict[str, Stat]:
    """Size, time and inode of a file, or of each file of a folder; what cannot be looked at is left out."""
    found = {}
    for one in _paths(path):
        try:
            stat = one.stat()
        except OSError:
            continue
        found[str(one)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def _digest(stats: Mapping[str, Stat]) -> str:
    return hashlib.blake2b(repr(sorted(stats.items())).encode(), digest_size=16).hexdigest()


# After a stage ------------------------------------------------------------------------------------------------------


def trainings(stage: str) -> list[Path]:
    """Folders with the finished weights of a training that `dvc.lock` may not name yet."""
    return [path for path in TRAININGS.glob(f"{stage.replace('@', '-fold')}-*") if path.is_dir()]


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
        except (FsatError, TypeError):  # cleared away by another stage, or by another version of this module
            path.unlink(missing_ok=True)
            continue
        text = dvc_files.entries(note.lock).get(note.stage, "")
        entry = dvc_files.entry(text)
        if "outs" not in entry:
            continue
        denied = list(_denied(note, entry))
        if not denied:
            for kept in trainings(note.stage):
                if is_recorded(note.stage, kept):
                    shutil.rmtree(kept)
            path.unlink(missing_ok=True)
        elif text == note.before or note.stage == besides:
            continue
        elif _wrote(note, entry):
            dvc_files.remove_run(entry)
            lines += [f"{note.stage}: {'; '.join(denied)}. Run `dvc repro --force --single-item {note.stage}`."]
        else:
            path.unlink(missing_ok=True)  # restored or checked out since
    if lines:
        what = f"{note.lock} says of a stage what it was not run with: an edit came between its end and DVC's look."
        raise FsatError("\n  ".join([what, *lines]))


def _denied(note: Note, entry: Mapping[str, Any]) -> Iterator[str]:
    """What an entry of the lock says of dependencies, and the note does not."""
    for file, values in note.values.items():
        recorded = entry.get("params", {}).get(file, values)
        yield from (f"{file}: {key} was {old!r}, not {new!r}" for key, old, new in _different(values, recorded))
    for dep in entry.get("deps", []):
        path, md5 = dep["path"], dep.get("md5")
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


def _wrote(note: Note, entry: Mapping[str, Any]) -> bool:
    """Whether the outputs of an entry are those that the noted run wrote."""
    outs = {out["path"]: out.get("md5") for out in entry.get("outs", [])}
    return all(md5 == outs.get(path) or md5 == _digest(_stats(path)) for path, md5 in note.outs.items())
