"""The graph never lies: what dvc.yaml declares is what the code uses, and a change of either is caught."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fsat.core import params
from scripts import graph, pin

ROOT = Path(__file__).parents[1]
FILES = ("dvc.yaml", "sources/dvc.yaml")


def stages(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Every stage of both files by name."""
    return {
        name: stage
        for file in FILES
        for name, stage in yaml.safe_load((root / file).read_text(encoding="utf-8"))["stages"].items()
    }


def script(stage: dict[str, Any], root: Path = ROOT) -> Path:
    """File of `python -m stages.<name>`."""
    return root / (stage["cmd"].split()[2].replace(".", "/") + ".py")


def declared_code(stage: dict[str, Any]) -> set[str]:
    return {dep for dep in stage["deps"] if dep.startswith(("fsat/", "stages/")) and dep.endswith(".py")}


def declared_parameters(stage: dict[str, Any]) -> set[str]:
    return {key for key in stage.get("params", []) if isinstance(key, str)}


def declared_versions(stage: dict[str, Any]) -> set[str]:
    entries = [entry["versions.yaml"] for entry in stage.get("params", []) if isinstance(entry, dict)]
    return set(entries[0]) if entries else set()


STAGES = stages()


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_import_closure(name: str) -> None:
    assert declared_code(STAGES[name]) == graph.import_closure(script(STAGES[name]))


@pytest.mark.parametrize("name", STAGES)
def test_declared_parameters_are_those_read_and_used(name: str) -> None:
    file = script(STAGES[name])
    requested = graph.requested_parameters(file)
    assert declared_parameters(STAGES[name]) == requested
    used = graph.used_parameters(file)
    unused = {key for key in requested if not any(f"{key}.".startswith(f"{chain}.") for chain in used)}
    unused = {key for key in unused if not any(chain.startswith(f"{key}.") for chain in used)}
    assert not unused, f"read but never used: {unused}"


@pytest.mark.parametrize("name", STAGES)
def test_declared_libraries_are_pinned_ones_that_the_code_imports(name: str) -> None:
    pinned = set(yaml.safe_load((ROOT / "versions.yaml").read_text(encoding="utf-8")))
    versions = declared_versions(STAGES[name])
    assert versions <= pinned
    imported = graph.imported_libraries(ROOT / file for file in declared_code(STAGES[name]))
    assert versions >= imported & pinned, "a library that shapes bytes is not declared"


def test_the_report_depends_on_its_templates() -> None:
    declared = {dep for dep in STAGES["report"]["deps"] if dep.startswith("fsat/report/templates/")}
    assert declared == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "fsat" / "report" / "templates").iterdir()
    }


def test_every_plot_names_columns_that_are_there() -> None:
    plots = [entry for stage in STAGES.values() for entry in stage.get("plots", [])]
    named = {path: options for entry in plots for path, options in entry.items() if path.endswith(".csv")}
    assert named
    for path, options in named.items():
        header = (ROOT / path).read_text(encoding="utf-8").splitlines()[0].split(",")
        assert {options[axis] for axis in ("x", "y") if axis in options} <= set(header), path


def test_every_stage_has_a_description() -> None:
    assert all(stage.get("desc") for stage in STAGES.values())


def test_every_declared_parameter_exists() -> None:
    known = params.known_keys()
    assert all(key in known for stage in STAGES.values() for key in declared_parameters(stage))


def test_versions_are_those_of_the_requirements() -> None:
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    versions = yaml.safe_load((ROOT / "versions.yaml").read_text(encoding="utf-8"))
    assert versions == pin.pinned_versions(requirements)
    assert "--hash=sha256:" in requirements and "index-url" not in requirements


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code that can be mutated."""
    for folder in ("fsat", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("name", STAGES)
def test_a_new_import_is_caught(name: str, copy: Path) -> None:
    file = script(STAGES[name], copy)
    modules = (path.relative_to(copy) for path in (copy / "fsat").glob("*/*.py") if path.stem != "__init__")
    unused = min(module for module in modules if module.as_posix() not in declared_code(STAGES[name]))
    wing, module = unused.parent.name, unused.stem
    for statement in (
        f"from fsat.{wing} import {module}",
        f"import fsat.{wing}.{module}",
        f"from fsat.{wing}.{module} import x",
    ):
        original = file.read_text(encoding="utf-8")
        # Inside a function, where it is easily overlooked.
        file.write_text(original + f"\n\ndef late() -> None:\n    {statement}\n", encoding="utf-8")
        assert graph.import_closure(file) != declared_code(STAGES[name])
        file.write_text(original, encoding="utf-8")
    assert graph.import_closure(file) == declared_code(STAGES[name])


@pytest.mark.parametrize("name", [name for name in STAGES if name != "evaluate"])
def test_reading_an_undeclared_parameter_is_caught(name: str, copy: Path) -> None:
    file = script(STAGES[name], copy)
    text = file.read_text(encoding="utf-8")
    mutated = text.replace("params.read(", 'params.read("report.mistakes", ', 1)
    if mutated == text:
        pytest.skip("reads no parameters")
    file.write_text(mutated, encoding="utf-8")
    assert graph.requested_parameters(file) != declared_parameters(STAGES[name])


def test_a_parameter_that_was_not_asked_for_cannot_be_used() -> None:
    p = params.read("mel.n_fft", path=ROOT / "params.yaml")
    with pytest.raises(AttributeError, match=r"mel\.n_mels was not asked for"):
        _ = p.mel.n_mels


def test_the_benchmark_names_functions_that_exist() -> None:
    """It watches parts of the features by their names."""
    from fsat.clips import audio
    from fsat.features import harmonic, spectral, waveform

    modules = {"audio": audio, "harmonic": harmonic, "spectral": spectral, "waveform": waveform}
    text = (ROOT / "benchmarks" / "features.py").read_text(encoding="utf-8")
    named = re.findall(r'^ +\("[^"]+", (\w+), "(\w+)"\),$', text, flags=re.MULTILINE)
    assert len(named) > 10
    assert [pair for pair in named if not hasattr(modules[pair[0]], pair[1])] == []
