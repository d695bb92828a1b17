"""The graph never lies: what dvc.yaml declares is what the code uses, and a change of either is caught."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import graph, pin

ROOT = Path(__file__).parents[1]
FILES = ("dvc.yaml", "sources/dvc.yaml")


STAGES: dict[str, dict[str, Any]] = {
    name: stage
    for file in FILES
    for name, stage in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["stages"].items()
}


@pytest.mark.parametrize("name", FILES)
def test_the_graph_is_what_the_code_says(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert graph.written(text, ROOT) == text, "run `python -m scripts.graph`"
    spoilt = text.replace("      - fsat/core\n", "      - fsat/no_such.py\n      - fsat/core/stage.py\n")
    spoilt = spoilt.replace("          - numpy\n", "").replace("      - model.width\n", "      - model\n")
    assert spoilt.count("no_such") == text.count("cmd:") and graph.written(spoilt, ROOT) == text


def test_the_report_depends_on_its_templates() -> None:
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fsat" / "report" / "templates").iterdir()}
    assert {dep for dep in STAGES["report"]["deps"] if dep.startswith("fsat/report/templates/")} == templates


def test_every_plot_names_columns_that_are_there() -> None:
    plots = [entry for stage in STAGES.values() for entry in stage.get("plots", [])]
    named = {path: options for entry in plots for path, options in entry.items() if path.endswith(".csv")}
    assert named
    for path, options in named.items():
        header = (ROOT / path).read_text(encoding="utf-8").splitlines()[0].split(",")
        assert {options[axis] for axis in ("x", "y") if axis in options} <= set(header), path


def test_versions_are_those_of_the_requirements() -> None:
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    versions = yaml.safe_load((ROOT / "versions.yaml").read_text(encoding="utf-8"))
    assert versions == pin.pinned_versions(requirements)
    assert "--hash=sha256:" in requirements and "index-url" not in requirements


def test_an_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    for folder in ("fsat", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "stages" / "trim.py"
    original, before = script.read_text(encoding="utf-8"), graph.import_closure(script)
    module = "fsat.scoring.ranking"
    for statement in ("from fsat.scoring import ranking", f"import {module}", f"from {module} import x"):
        # Inside a function, where it is easily overlooked.
        script.write_text(f"{original}\n\ndef late() -> None:\n    {statement}\n", encoding="utf-8")
        assert graph.import_closure(script) == before | {"fsat/scoring/ranking.py"}


def used(tmp_path: Path, *lines: str) -> list[str]:
    """Parameters of a script of these lines."""
    script = tmp_path / "script.py"
    script.write_text("\n".join(["from fsat.core import params", *lines]) + "\n", encoding="utf-8")
    return graph.used_parameters(script)


def test_used_parameters_are_the_leaves_and_sections_of_the_script(tmp_path: Path) -> None:
    for line, keys in (
        ("x(p.pca.n_components, p.seed)", ["seed", "pca.n_components"]),
        ("f'{p.dataset.path.upper()}'", ["dataset.path"]),
        ("x(p.mel, p.mel.n_fft, p.train.stage1.cyclic)", ["mel", "train.stage1.cyclic"]),
        ("{'mel': p.mel.model_dump()}", ["mel"]),
        ("x(p=1).p", []),
        ("params.Sources.model_fields", []),
    ):
        assert used(tmp_path, "p = params.read()", line) == keys


UNFOLLOWED = """
x(p); q = p; f'{p}'; getattr(p, 'mel'); p.model_dump(); p.no_such_section; p = x(); p, q = params.read(), 1
q = params.read(); p = params.read('other.yaml'); params.read().mel; read = params.read; getattr(params, 'read')
from fsat.core.params import read; from fsat.core import params as settings; import fsat.core.params as settings
fsat.core.params.read(); lambda p: p.mel; import x as p; def f(p): p.mel; for p in x: p.mel
"""


@pytest.mark.parametrize("line", re.split("[;\n] *", UNFOLLOWED.strip()))
def test_a_use_that_cannot_be_followed_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(TypeError, match=r"script\.py, line 3: p"):
        used(tmp_path, "p = params.read()", line)


def test_the_script_alone_reads_parameters(tmp_path: Path) -> None:
    for folder, name, text in (
        ("stages", "one", "from fsat.core import hidden"),
        ("fsat/core", "hidden", "from fsat.core import params\nx = params.read().mel"),
        ("fsat/core", "params", ""),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "versions.yaml").write_text("numpy: 2.0.0", encoding="utf-8")
    with pytest.raises(TypeError, match=r"hidden\.py, line 2: a stage's script alone reads parameters"):
        graph.written("stages:\n  one:\n    cmd: python -m stages.one\n", tmp_path)


def test_libraries_behind_the_imported_ones_count(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import keras, sklearn.linear_model\nfiles.read_parquet('x')\n", encoding="utf-8")
    assert graph.used_libraries([script]) == {"keras", "tensorflow", "scikit-learn", "scipy", "pyarrow"}


def test_the_benchmark_names_functions_that_exist() -> None:
    """It watches parts of the features by their names."""
    from fsat.clips import audio
    from fsat.features import harmonic, median, spectral, waveform

    modules = {"audio": audio, "harmonic": harmonic, "median": median, "spectral": spectral, "waveform": waveform}
    text = (ROOT / "benchmarks" / "features.py").read_text(encoding="utf-8")
    named = re.findall(r'^ +\("[^"]+", (\w+), "(\w+)"\),$', text, flags=re.MULTILINE)
    assert len(named) > 10
    assert [pair for pair in named if not hasattr(modules[pair[0]], pair[1])] == []
