"""Presets: `presets/demo.yaml` is a whole parameter file, the others hold what differs; `fsat preset` fills them up."""

import difflib
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsat.core import files, params
from fsat.core.errors import FsatError

FOLDER = Path("presets")
BASE = "demo"
# The line of a head that names the command which writes the file.
_COMMAND = re.compile(r"^#   fsat preset (.*)$", flags=re.MULTILINE)
_KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: (?P<value>[^#]*?))? *(?:# (?P<comment>.*))?")
_COLUMN = 30  # where comments begin, as far as the values before them leave room


@dataclass
class _Entry:
    """A key in the text of a parameter file: its lines, from `start` to before `end`, and what they hold."""

    start: int
    end: int
    key: str
    value: str
    comment: str
    items: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        indent = "  " * self.key.count(".")
        text = f"{indent}{self.key.rpartition('.')[2]}: {self.value}".rstrip()
        first = f"{text + '   ':<{_COLUMN}}# {self.comment}" if self.comment else text
        return [first, *(f"{indent}- {item}" for item in self.items)]


def listed(folder: Path = FOLDER) -> dict[str, str]:
    """Each preset with the first line of its head; `FsatError` if the folder holds none."""
    paths = sorted(folder.glob("*.yaml"), key=lambda path: path.stem)
    if not paths:
        raise FsatError(f"{folder}: no presets. Run this in the project's folder.")
    return {path.stem: path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for path in paths}


def read(name: str, folder: Path = FOLDER) -> params.Params:
    """The parameters of a preset."""
    return params.validate(files.parse_yaml(complete(name, folder=folder), where=name), where=name)


def complete(name: str, values: Sequence[str] = (), *, folder: Path = FOLDER) -> str:
    """Text of a whole parameter file: the base with a preset's head, values and reasons, then with other values.

    These are ``key=value``, the value in YAML: ``folds.ids=[0, 1]``. `FsatError` if there is no such preset; else it
    names every key and value that is not allowed.
    """
    presets = listed(folder)
    if name not in presets:
        close = difflib.get_close_matches(name, presets, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(presets)}."
        raise FsatError(f"no preset {name}. {hint}")
    command = shlex.join([name, *values])
    head, preset = _head_and_body(folder / f"{name}.yaml")
    _, lines = _head_and_body(folder / f"{BASE}.yaml")
    entries = _entries(lines)
    meanings = {key: entry.comment for key, entry in entries.items()}
    given, leaves = dict(leaf for text in values for leaf in _given(text)), params.leaves()
    for key, other in _entries(preset).items() if name != BASE else ():
        if key not in entries:
            given[key] = other.value  # which the schema refuses
        elif other.value or other.items:
            reason = ". Why: ".join(part for part in (meanings[key], other.comment) if part)
            entries[key].value, entries[key].items, entries[key].comment = other.value, other.items, reason
    for key in given.keys() & leaves:
        items = given[key] if isinstance(given[key], list) else []
        entries[key].value = "" if items else _scalar(given[key])
        entries[key].items = [_scalar(item) for item in items]
        entries[key].comment = meanings[key]
    for entry in reversed(entries.values()):
        lines[entry.start : entry.end] = entry.lines()
    text = "\n".join([_COMMAND.sub(lambda _: f"#   fsat preset {command}", head), *lines, ""])
    mapping = files.parse_yaml(text, where=command)
    for key in given.keys() - leaves:
        _put(mapping, key, given[key])
    params.validate(mapping, where=f"fsat preset {command}")
    return _as_dvc_writes(text)


def write(name: str, values: Sequence[str] = (), *, path: Path = Path("params.yaml"), force: bool = False) -> None:
    """Write a parameter file from a preset; see `complete`.

    `FsatError` if the file has edits that neither the last commit of git nor a preset holds, unless `force` is set.
    """
    text = complete(name, values)
    try:
        if not force and path.exists() and not _can_be_had_again(path):
            advice = "Commit them, or overwrite them: add --force to this command."
            raise FsatError(f"{path} has edits that are not committed. {advice}")
        files.write_text(path, text)
    except OSError as error:
        raise FsatError(f"{path} cannot be written ({error.strerror}).") from error


def _can_be_had_again(path: Path) -> bool:
    """Whether a file is as git has it in its last commit, or as the command in its head writes it."""
    content = path.read_bytes()
    if shutil.which("git"):
        command = ["git", "show", f"HEAD:./{path.name}"]
        committed = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
        if committed.returncode == 0 and committed.stdout == content:
            return True
    written = _COMMAND.search(content.decode("utf-8", errors="replace"))
    try:
        name, *values = shlex.split(written[1]) if written else [""]
        return complete(name, values).encode() == content
    except (FsatError, ValueError):
        return False


def _head_and_body(path: Path) -> tuple[str, list[str]]:
    """The comment at the start of a file, and the lines after it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(lines[:first]), lines[first:]


def _entries(lines: Sequence[str]) -> dict[str, _Entry]:
    """Every key, section or leaf, in the order of the lines."""
    found: dict[str, _Entry] = {}
    path: list[str] = []
    for number, line in enumerate(lines):
        if match := _KEY.fullmatch(line):
            path[len(match["indent"]) // 2 :] = [match["name"]]
            key = ".".join(path)
            found[key] = _Entry(number, number + 1, key, match["value"] or "", match["comment"] or "")
        elif line.lstrip().startswith("- "):
            found[key].items.append(line.lstrip().removeprefix("- "))
            found[key].end = number + 1
    return found


def _given(text: str) -> Iterator[tuple[str, Any]]:
    """Leaves of ``key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not text.isprintable():
        raise FsatError(f"{text!r}: values are written as key=value, such as mixup.alpha=0.4.")
    yield from _leaves(key, files.parse_yaml(value, where=key))


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def _put(mapping: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(mapping.get(section), dict):
            mapping[section] = {}
        mapping = mapping[section]
    mapping[name] = value


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _as_dvc_writes(text: str) -> str:
    """The same YAML in the form that `dvc exp run -S` gives it, so that DVC changes no other line."""
    from ruamel.yaml import YAML

    yaml, stream = YAML(), io.StringIO()
    yaml.dump(yaml.load(text), stream)
    return stream.getvalue()
