"""What DVC's own files say: a stage in `dvc.yaml`, its entry in `dvc.lock`, the hash of a folder, the cache.

Read as text and by blocks, without DVC: a stage may spend some milliseconds on it, not seconds.
"""

import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsat.core import files
from fsat.core.errors import FsatError

GRAPHS = {"dvc.yaml": "dvc.lock", "sources/dvc.yaml": "sources/dvc.lock"}
_QUOTES = "'\""
_BLOCK = re.compile(r"^  ([\w@'\"-]+):\n((?:(?:    .*)?\n)+)", flags=re.MULTILINE)


@dataclass(frozen=True)
class Stage:
    """One stage of a graph, with the values of a matrix and of parameters filled in."""

    name: str  # as in the lock: "stage1@0"
    graph: str  # file that declares it, one of `GRAPHS`
    deps: list[str]
    params: dict[str, list[str]]  # file -> keys
    outs: list[str]  # with metrics and plots


def declared(module: str, arguments: Sequence[str], values: Mapping[str, Any]) -> Stage | None:
    """The stage that runs a module, such as "stages.stage1", with these arguments; None where no graph has it.

    `values` is what params.yaml holds: the graph refers to it by ``${dataset.path}``.
    """
    for graph in GRAPHS:
        for name, text in entries(graph).items():
            found = re.search(rf"^    cmd: .*\b{re.escape(module)}((?: \S+)*)$", text, flags=re.MULTILINE)
            pattern = found[1].split() if found else []
            items = [(one, two) for one, two in zip(pattern, arguments, strict=False) if one != two]
            if not found or len(pattern) != len(arguments) or not all(one.startswith("${item.") for one, _ in items):
                continue
            keys = re.findall(r"\$\{([\w.]+)\}", text)
            fill = {f"${{{key}}}": str(_value(values, key)) for key in keys} | dict(items)
            stage = _filled(_parsed(text, where=graph), fill)
            params: dict[str, list[str]] = {}
            for entry in stage.get("params", []):
                for file, keys in entry.items() if isinstance(entry, dict) else [("params.yaml", [entry])]:
                    params.setdefault(file, []).extend(keys)
            outs = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
            plain = [next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in outs]
            deps = [os.path.normpath(path) for path in stage["deps"]]
            return Stage("@".join([name, *(two for _, two in items)]), graph, deps, params, plain)
    return None


def _filled(value: Any, fill: Mapping[str, str]) -> Any:
    """A value of YAML whose strings have the values of ``${...}``."""
    if isinstance(value, dict):
        return {key: _filled(one, fill) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, fill) for one in value]
    return re.sub(r"\$\{[\w.]+\}", lambda key: fill[key[0]], value) if isinstance(value, str) else value


def _parsed(block: str, *, where: str) -> Any:
    return files.parse_yaml("".join(line[4:] for line in block.splitlines(keepends=True)), where=where)


def _value(values: Mapping[str, Any], key: str) -> Any:
    """Value of a dotted key."""
    found: Any = values
    for name in key.split("."):
        found = found[name] if isinstance(found, Mapping) and name in found else None
    return found


def chosen(tree: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """Values of dotted keys; None for a key that the tree lacks."""
    return {key: _value(tree, key) for key in keys}


# dvc.lock ------------------------------------------------------------------------------------------------------------


def entries(path: str | Path) -> dict[str, str]:
    """Text of each stage's entry in a lock file or a graph; empty without the file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError:
        return {}
    return {name.strip(_QUOTES): block for name, block in _BLOCK.findall(text)}


def entry(text: str) -> dict[str, Any]:
    """An entry as a mapping: cmd, deps and outs (path, md5, size ...), params (file -> key -> value).

    Empty where there is none, or only a part of it: DVC may be writing the file.
    """
    try:
        found = _parsed(text, where="dvc.lock")
    except FsatError:
        return {}
    return found if isinstance(found, dict) else {}


def outputs() -> dict[str, str]:
    """md5 of every output in the lock files by its path."""
    blocks = [block for lock in GRAPHS.values() for block in entries(lock).values()]
    return {path: md5 for block in blocks for path, md5 in _hashes(block.partition("    outs:\n")[2])}


def indexed() -> dict[str, str]:
    """md5 of the dataset that `index` read by its path; other dependencies of `index` too."""
    return dict(_hashes(entries("dvc.lock").get("index", "").partition("    outs:\n")[0]))


def _hashes(part: str) -> Iterator[tuple[str, str]]:
    for path, value in re.findall(r"^    - path: (.+)\n      hash: md5\n      md5: (\S+)$", part, flags=re.MULTILINE):
        yield os.path.normpath(str(files.parse_yaml(path, where="dvc.lock")) if path[0] in _QUOTES else path), value


# Hashes and the cache ------------------------------------------------------------------------------------------------


def md5(path: str | Path) -> str:
    """md5 of a file, or of a folder as DVC has it; empty if it cannot be read."""
    path = Path(path)
    try:
        if path.is_dir():
            return listing_md5({name: md5(path / name) for name in files_of(path)})
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return ""


def listing_md5(listing: Mapping[str, str]) -> str:
    """md5 of a folder from those of its files, by their names relative to it."""
    rows = [{"md5": value, "relpath": name} for name, value in sorted(listing.items())]
    return hashlib.md5(json.dumps(rows).encode(), usedforsecurity=False).hexdigest() + ".dir"


def files_of(folder: str | Path) -> Iterator[str]:
    """Files below a folder that DVC hashes, relative to it: it follows no links to folders."""
    patterns = _ignored() if os.path.realpath(folder).startswith(os.path.realpath(".") + os.sep) else []

    def kept(names: list[str]) -> list[str]:
        return [name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]

    for parent, folders, names in os.walk(folder):
        folders[:] = kept(folders)
        at = os.path.relpath(parent, folder)
        yield from (name if at == "." else f"{at}/{name}" for name in kept(names))


def _ignored() -> list[str]:
    """Names, and patterns of names, that DVC leaves out of a folder of data, by itself and by .dvcignore."""
    try:
        lines = Path(".dvcignore").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return [".dvc", ".git", ".hg", *(line.rstrip("/") for line in lines if line and line[0] not in "#/!")]


def cached_listing(value: str) -> dict[str, str] | None:
    """Files of a folder by its md5, from DVC's cache; None if the cache does not hold it."""
    for cache in _caches():
        path = cache / "files" / "md5" / value[:2] / value[2:]
        if path.is_file():
            return {row["relpath"]: row["md5"] for row in json.loads(path.read_bytes())}
    return None


def _caches() -> Iterator[Path]:
    """The usual cache, and then, as DVC is slow to ask, the one that its settings name."""
    usual = Path(".dvc/cache")
    yield usual
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True, check=False)
    if done.returncode == 0 and Path(done.stdout.strip()).resolve() != usual.resolve():
        yield Path(done.stdout.strip())


def runs(recorded: Mapping[str, Any]) -> list[Path]:
    """Records of the run cache that say what this entry of a lock says."""

    def facts(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        hashes = [sorted((one["path"], one.get("md5")) for one in entry.get(kind, [])) for kind in ("deps", "outs")]
        return (entry["cmd"], *hashes, entry.get("params"))

    found = []
    for path in (path for cache in _caches() for path in cache.glob("runs/*/*/*")):
        text = path.read_text(encoding="utf-8")
        same = text.startswith(f"cmd: {recorded['cmd']}\n")
        if same and facts(files.parse_yaml(text, where=str(path))) == facts(recorded):
            found.append(path)
    return found


def is_committed(lock: str, stage: str, text: str) -> bool:
    """Whether the lock file of git's last commit has this entry of a stage."""
    committed = _git("show", f"HEAD:./{lock}")
    return any(name.strip(_QUOTES) == stage and block == text for name, block in _BLOCK.findall(committed))


def head() -> str:
    """Name of git's last commit; empty without one."""
    return _git("rev-parse", "HEAD").strip()


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout
    except OSError:  # no git here
        return ""
