"""Who may import whom: the table of packages in docs/ARCHITECTURE.md is the rule, and the code follows it exactly."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import graph

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for path in (ROOT / "fsat").rglob("*.py") if path.name != "__init__.py")
PACKAGES = sorted(path.name for path in (ROOT / "fsat").iterdir() if (path / "__init__.py").is_file())
# Modules of the package itself, which may import every package.
COMMANDS = {"cli", "doctor", "presets", "verify"}
KERAS = {"keras", "tensorflow", "jax"}


def rule() -> dict[str, set[str]]:
    """Package -> packages it imports, from the table of docs/ARCHITECTURE.md."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| [^|]+ \| [^|]+ \| ([^|]+) \|$", page, flags=re.MULTILINE)
    return {package: set(re.findall(r"`(\w+)`", others)) for package, others in rows}


def imported_packages(package: str) -> set[str]:
    names = {name for path in MODULES if path.parent.name == package for name in graph.imported_modules(path)}
    return {name.split(".")[1] for name in names if name.startswith("fsat.")} - {package}


def test_every_module_is_in_a_package_every_package_has_a_row_and_every_row_a_package() -> None:
    assert {path.stem for path in MODULES if path.parent == ROOT / "fsat"} == COMMANDS
    assert sorted(rule()) == PACKAGES


def test_no_module_imports_a_stage_and_networks_alone_imports_keras() -> None:
    for path in MODULES:
        assert "stages" not in {name.split(".")[0] for name in graph.imported_modules(path)}
        may = path.parent.name == "networks" or path.stem == "keras_backend"
        assert may or not graph.imported_libraries([path]) & KERAS, path


def test_a_stage_sets_keras_up_before_it_imports_it() -> None:
    """Else the user's `~/.keras/keras.json` counts, and TensorFlow complains of a GPU that is not there."""
    users = {path.stem for path in MODULES if graph.imported_libraries([path]) & KERAS}
    names = "|".join(users - {"keras_backend"})
    scripts = [(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "stages").glob("*.py"))]
    using = {name: found for name, text in scripts if (found := re.search(rf"import .*\b({names})\b", text))}
    assert {"stage1.py", "bundle.py", "audioset_tagger.py"} <= using.keys()
    for name, text in scripts:
        assert name not in using or "keras_backend.use(" in text[: using[name].start()], name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_exactly_what_it_may(package: str) -> None:
    assert imported_packages(package) == rule()[package]


def test_packages_form_no_circle() -> None:
    order: list[str] = []
    while waiting := [package for package in PACKAGES if package not in order]:
        ready = [package for package in waiting if rule()[package] <= set(order)]
        assert ready, f"a circle among {waiting}"
        order += ready


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_is_and_exports_nothing(package: str) -> None:
    text = (ROOT / "fsat" / package / "__init__.py").read_text(encoding="utf-8")
    assert re.fullmatch(r'"""[A-Z].+\."""\n|"""[A-Z].+\.\n"""\n', text, flags=re.DOTALL)


def test_stages_before_training_start_without_keras_and_librosa() -> None:
    code = (
        "import sys\n"
        "from stages import baseline, calibrate, evaluate, folds, index, mel, pca, spectral, trim\n"
        "print([name for name in ('keras', 'tensorflow', 'jax', 'librosa') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
