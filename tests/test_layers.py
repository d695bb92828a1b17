"""Who may import whom: the table of wings in docs/ARCHITECTURE.md is the rule, and the code follows it exactly."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import graph

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for path in (ROOT / "fsat").rglob("*.py") if path.name != "__init__.py")
WINGS = sorted(path.name for path in (ROOT / "fsat").iterdir() if (path / "__init__.py").is_file())
# Modules of the package itself, which may import every wing.
COMMANDS = {"cli", "doctor", "presets", "verify"}
KERAS = {"keras", "tensorflow", "jax"}


def rule() -> dict[str, set[str]]:
    """Wing -> wings it imports, from the table of docs/ARCHITECTURE.md."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| [^|]+ \| [^|]+ \| ([^|]+) \|$", page, flags=re.MULTILINE)
    return {wing: set(re.findall(r"`(\w+)`", others)) for wing, others in rows}


def imported_wings(wing: str) -> set[str]:
    names = {name for path in MODULES if path.parent.name == wing for name in graph.imported_modules(path)}
    return {name.split(".")[1] for name in names if name.startswith("fsat.")} - {wing}


def test_every_module_is_in_a_wing_every_wing_has_a_row_and_every_row_a_wing() -> None:
    assert {path.stem for path in MODULES if path.parent == ROOT / "fsat"} == COMMANDS
    assert sorted(rule()) == WINGS


def test_no_module_imports_a_stage_and_networks_alone_imports_keras() -> None:
    for path in MODULES:
        assert "stages" not in {name.split(".")[0] for name in graph.imported_modules(path)}
        assert path.parent.name == "networks" or not graph.imported_libraries([path]) & KERAS, path


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_exactly_what_it_may(wing: str) -> None:
    assert imported_wings(wing) == rule()[wing]


def test_wings_form_no_circle() -> None:
    order: list[str] = []
    while waiting := [wing for wing in WINGS if wing not in order]:
        ready = [wing for wing in waiting if rule()[wing] <= set(order)]
        assert ready, f"a circle among {waiting}"
        order += ready


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_says_what_it_is_and_exports_nothing(wing: str) -> None:
    text = (ROOT / "fsat" / wing / "__init__.py").read_text(encoding="utf-8")
    assert re.fullmatch(r'"""[A-Z].+\."""\n|"""[A-Z].+\.\n"""\n', text, flags=re.DOTALL)


def test_stages_before_training_start_without_keras_and_librosa() -> None:
    code = (
        "import sys\n"
        "from stages import baseline, calibrate, evaluate, folds, index, mel, pca, spectral, trim\n"
        "print([name for name in ('keras', 'tensorflow', 'jax', 'librosa') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
