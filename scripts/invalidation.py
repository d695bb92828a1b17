"""Write `docs/INVALIDATION.md`: which stages run again when a parameter, a module or a library changes.

    python -m scripts.invalidation

The table is derived from dvc.yaml and sources/dvc.yaml. tests/pipeline/test_invalidation.py changes every parameter
and module in a finished run and asks DVC; tests/test_graph.py compares both files with the code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fsat.core import params

ORDER = ("demo", "fsdkaggle2018", "random", "imagenet", "audioset", "audioset-tagger", "index", "trim", "filters",
         "mel", "spectral", "pca", "folds", "baseline", "embed", "stage1", "stage2", "predict", "ensemble", "evaluate",
         "calibrate", "report", "bundle")  # fmt: skip
# Which of these a run uses depends on dataset.path and model.weights; the last one is a result of its own.
SOURCES = ORDER[:6]

HEADER = """# What runs again when something changes

Made by `python -m scripts.invalidation` from dvc.yaml and sources/dvc.yaml. **Directly**: the stages that name what
changed. **Then, at most**: the stages after them; each runs only if an output before it really changed, so a comment
in a module reruns the stages that import it, finds the same bytes, and stops there. The stages of a fold (stage1,
stage2, predict) stand for all folds of `folds.ids`. A source (demo, fsdkaggle2018, random, imagenet, audioset) runs
only if `dataset.path` or `model.weights` names what it makes, audioset-tagger only if it is asked for.

`tests/pipeline/test_invalidation.py` changes every parameter and every module below in a finished run and compares
what DVC says with this page.
"""


def read_stages(root: Path) -> dict[str, dict[str, Any]]:
    """All stages of dvc.yaml and sources/dvc.yaml by name."""
    return {
        name: stage
        for file in ("sources/dvc.yaml", "dvc.yaml")
        for name, stage in yaml.safe_load((root / file).read_text(encoding="utf-8"))["stages"].items()
    }


def declared(stage: Mapping[str, Any]) -> tuple[set[str], set[str], set[str]]:
    """Code files, parameters and libraries a stage names."""
    code = {dep for dep in stage["deps"] if dep.endswith(".py")}
    keys = {key for key in stage.get("params", []) if isinstance(key, str)}
    libraries = {
        name for entry in stage.get("params", []) if isinstance(entry, dict) for name in entry["versions.yaml"]
    }
    return code, keys, libraries


def interpolated(stage: Mapping[str, Any]) -> set[str]:
    """Parameters that dvc.yaml puts into a stage's command, dependencies or outputs."""
    text = yaml.safe_dump({key: stage.get(key) for key in ("cmd", "deps", "outs")})
    return {key for key in ("dataset.path", "dataset.corrections", "model.weights") if f"${{{key}}}" in text}


def outputs(stage: Mapping[str, Any]) -> set[str]:
    """Paths a stage writes."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def downstream(stages: Mapping[str, Mapping[str, Any]], first: set[str]) -> set[str]:
    """Stages after those of `first`, which are not counted themselves."""

    def reads(stage: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return any(
            dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")
            for dep in _sources_resolved(stage["deps"])
            for out in outputs(other)
        )

    found: set[str] = set()
    waiting = set(first)
    while waiting:
        name = waiting.pop()
        after = {other for other, stage in stages.items() if other != name and reads(stage, stages[name])}
        waiting |= after - found - first
        found |= after
    return found - first


def _sources_resolved(deps: list[str]) -> list[str]:
    """Dependencies with `${dataset.path}` and `${model.weights}` as any of the sources may fill them."""
    choices = {
        "${dataset.path}": ["data/demo", "data/fsdkaggle2018"],
        "${model.weights}": [
            "data/pretrained/random.weights.h5",
            "data/pretrained/imagenet.weights.h5",
            "data/pretrained/audioset.weights.h5",
        ],
    }
    return [choice for dep in deps for choice in choices.get(dep, [dep])]


def affected(stages: Mapping[str, Mapping[str, Any]], *, parameter: str) -> set[str]:
    """Stages that name a leaf, or a section it is in."""
    sections = {parameter.rsplit(".", count)[0] for count in range(parameter.count(".") + 1)}
    return {name for name, stage in stages.items() if declared(stage)[1] & sections or parameter in interpolated(stage)}


def table(title: str, rows: Mapping[str, set[str]], stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown table of what changed, the stages that name it, and the stages after those."""

    def names(which: set[str]) -> str:
        return ", ".join(name for name in ORDER if name in which) or "-"

    lines = [f"| {title} | directly | then, at most |", "|---|---|---|"]
    lines += [f"| `{key}` | {names(first)} | {names(downstream(stages, first))} |" for key, first in rows.items()]
    return "\n".join(lines) + "\n"


def page(root: Path) -> str:
    """The whole page."""
    stages = read_stages(root)
    parts = {name: declared(stage) for name, stage in stages.items()}
    leaves = {leaf: affected(stages, parameter=leaf) for leaf in params.leaves()}
    modules = sorted({file for code, _, _ in parts.values() for file in code})
    libraries = yaml.safe_load((root / "versions.yaml").read_text(encoding="utf-8"))
    return "\n".join(
        [
            HEADER,
            "## Parameters\n",
            table("parameter", leaves, stages),
            "`folds.ids` decides which folds there are: a new fold runs its own trainings and predictions only.\n",
            "## Modules\n",
            table("file", {file: {name for name in parts if file in parts[name][0]} for file in modules}, stages),
            "## Libraries (`versions.yaml`)\n",
            table("library", {key: {name for name in parts if key in parts[name][2]} for key in libraries}, stages),
        ]
    )


if __name__ == "__main__":
    Path("docs/INVALIDATION.md").write_text(page(Path()), encoding="utf-8")
