"""Which stages run again when a parameter, a module or a library changes.

    python -m scripts.invalidation mixup.alpha                     a parameter, or a section of them
    python -m scripts.invalidation fsat/features/mel.py librosa    a module or another file; a library of versions.yaml

Names are looked up in dvc.yaml and sources/dvc.yaml. The stages of a fold (stage1, stage2, predict) stand for all folds
of `folds.ids`; a new fold runs `folds` and its own alone. A source runs only if `dataset.path` or `model.weights` names
what it makes, audioset-tagger only if it is asked for.
"""

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fsat.core import params
from scripts import graph

Stages = Mapping[str, Mapping[str, Any]]
# What the sources may put in place of a parameter.
MADE_BY_SOURCES = {"${dataset.path}": ("data/demo", "data/fsdkaggle2018"), "${model.weights}": ("data/pretrained",)}


def read_stages(root: Path) -> dict[str, dict[str, Any]]:
    """All stages of sources/dvc.yaml and dvc.yaml by name, in their order."""
    return {
        name: stage
        for file in ("sources/dvc.yaml", "dvc.yaml")
        for name, stage in yaml.safe_load((root / file).read_text(encoding="utf-8"))["stages"].items()
    }


def declared(stage: Mapping[str, Any]) -> tuple[set[str], set[str], set[str]]:
    """Dependencies, parameters and libraries that a stage names.

    Parameters are those under ``params:`` and those that stand as ``${...}`` in the command and the paths.
    """
    entries = stage.get("params", [])
    text = yaml.safe_dump([stage.get(key) for key in ("cmd", "deps", "outs")])
    keys = {key for key in entries if isinstance(key, str)} | set(re.findall(r"\$\{(?!item\.)([\w.]+)\}", text))
    libraries = {name for entry in entries if isinstance(entry, dict) for name in entry["versions.yaml"]}
    return set(stage["deps"]), keys, libraries


def affected(stages: Stages, name: str) -> set[str]:
    """Stages that name a file, its folder or a library; a parameter, its section, or a parameter of a section."""

    found = set()
    for stage, entries in stages.items():
        deps, keys, libraries = declared(entries)
        overlap = any(f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.") for key in keys)
        if overlap or name in deps | libraries or any(name.startswith(f"{dep}/") for dep in deps):
            found.add(stage)
    return found


def downstream(stages: Stages, first: set[str]) -> set[str]:
    """Stages after those of `first`, which are not counted themselves."""

    def reads(stage: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        deps = [path for dep in stage["deps"] for path in MADE_BY_SOURCES.get(dep, (dep,))]
        return any(f"{dep}/".startswith(f"{out}/") or out.startswith(f"{dep}/") for dep in deps for out in _outs(other))

    found: set[str] = set()
    waiting = set(first)
    while waiting:
        name = waiting.pop()
        after = {other for other, stage in stages.items() if other != name and reads(stage, stages[name])}
        waiting |= after - found - first
        found |= after
    return found - first


def _outs(stage: Mapping[str, Any]) -> list[str]:
    """Paths a stage writes."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def main(names: Iterable[str], root: Path = Path()) -> None:
    """Print the stages that name each thing, and those that may run after them."""
    stages = read_stages(root)
    named = {name for stage in stages.values() for kind in declared(stage) for name in kind if "$" not in name}
    modules = {path.relative_to(root).as_posix() for path in (root / graph.CORE).rglob("*.py")}
    known = named | modules | params.known_keys().keys()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            beside = f" Did you mean {' or '.join(close)}?" if close else ""
            sys.exit(f"{name}: no parameter, and no file or library that a stage names.{beside}")
        first = affected(stages, name)
        then = downstream(stages, first)
        print(name)
        for title, which in (("named by", first), ("then, if their outputs change", then)):
            print(f"  {title}: {', '.join(stage for stage in stages if stage in which) or '-'}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
