"""Who may import whom: the table of docs/ARCHITECTURE.md is held to the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import graph

ROOT = Path(__file__).parents[1]
ROOMS = sorted(path.stem for path in (ROOT / "fsat").glob("*.py") if path.stem != "__init__")
# What works with a network, or calls what does.
WITH_KERAS = {"model", "runtime", "resume", "training", "prediction", "tagging", "onnx_export"}


def allowed() -> dict[str, set[str]]:
    """Room -> rooms it may import, from the table; "everything" for a command."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table: dict[str, set[str]] = {}
    for rooms, rule in re.findall(r"^\| (`[^|]+) \| [^|]+ \| ([^|]+) \|$", page, flags=re.MULTILINE):
        names = set() if rule == "nothing" else set(rule.replace("`", "").split(", "))
        table |= dict.fromkeys(re.findall(r"`(\w+)`", rooms), names)
    return table


def imports(room: str) -> set[str]:
    names = graph.imported_modules(ROOT / "fsat" / f"{room}.py")
    return {name.split(".")[1] for name in names if name.startswith("fsat.")}


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    assert sorted(set(allowed()) & set(ROOMS)) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    rule = allowed()[room]
    assert imports(room) <= rule or rule == {"everything"}


def test_no_room_imports_a_stage() -> None:
    for room in ROOMS:
        assert "stages" not in {name.split(".")[0] for name in graph.imported_modules(ROOT / "fsat" / f"{room}.py")}


def test_only_the_rooms_of_the_network_import_keras() -> None:
    found = {
        room
        for room in ROOMS
        if graph.imported_libraries([ROOT / "fsat" / f"{room}.py"]) & {"keras", "tensorflow", "jax"}
    }
    assert found <= WITH_KERAS


def test_stages_before_training_start_without_keras() -> None:
    code = (
        "import sys\n"
        "from stages import evaluate, folds, index, mel, pca, spectral, trim\n"
        "print([name for name in ('keras', 'tensorflow', 'jax') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_a_stage_script_is_short(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 60
