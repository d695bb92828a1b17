"""The pages agree with the tree: what README.md and docs/ name exists."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from benchmarks import __main__ as performance
from fsat.cli import app
from fsat.core import files
from fsat.features import spectral, waveform

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
# What a page may name although it is made by a run, or by the reader.
MADE = ("data/", "state/", "logs/", "sounds", "onnx/")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def each_page() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page()
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text(page)) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []


@each_page()
def test_every_path_a_page_names_exists(page: Path) -> None:
    folders = "fsat|stages|scripts|tests|benchmarks|research|presets|sources|metrics|docs|data"
    named = re.findall(rf"(?<![\w/.<-])((?:{folders})/[\w./-]*\w)(?![\w/<*-])", text(page))
    assert [name for name in named if not name.startswith(MADE) and not (ROOT / name).exists()] == []


@each_page()
def test_every_command_a_page_names_exists(page: Path) -> None:
    modules = re.findall(r"python -m ((?:fsat|stages|scripts|benchmarks|research)[\w.]*)", text(page))
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
    targets = set(re.findall(r"^([\w-]+):", text(ROOT / "Makefile"), flags=re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make (?:PYTHON=\S+ )?([\w-]+)", text(page))) <= targets
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    commands = set(group.commands)
    assert set(re.findall(r"(?:`|\$ |&& )fsat ([a-z]+)", text(page))) <= commands


@each_page()
def test_every_test_a_page_names_exists(page: Path) -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py")))
    names = set(re.findall(r"\btest_\w+\b(?!\.py)", text(page)))
    assert [name for name in names if f"def {name}(" not in tests] == []


def test_what_the_table_of_changes_names_is_where_it_says() -> None:
    rows = text(ARCHITECTURE).partition("## Where to change what")[2].partition("\n## ")[0]
    named = [
        (path, name)
        for path, inside in re.findall(r"`((?:fsat|stages|scripts)/[\w/]+\.py)` \(([^)]+)\)", rows)
        for name in re.findall(r"`(\w+)`", inside)
    ]
    assert len(named) > 10
    missing = [
        f"{path}: {name}"
        for path, name in named
        if not re.search(rf"^(def|class) {name}\b|^{name}\b.* = ", text(ROOT / path), flags=re.MULTILINE)
    ]
    assert missing == []


def test_the_page_of_performance_is_written_from_the_numbers_measured() -> None:
    assert text(ROOT / performance.PAGE) == performance.markdown(files.read_json(ROOT / performance.RESULTS))


def test_the_recipe_names_the_statistics_as_they_are_and_in_their_order() -> None:
    section = text(ROOT / "docs" / "RECIPE.md").partition("### 2.1")[2].partition("### 2.2")[0]
    rows = {name: int(count) for name, count in re.findall(r"^\| `(\w+)` \| (\d+) \|", section, flags=re.MULTILINE)}
    over_time = [
        f"{feature}_{row:03d}_{statistic}"
        for feature, count in rows.items()
        for statistic in ("mean", "std", "skew", "max", "min")
        for row in range(count)
    ]
    assert spectral.feature_names(n_mfcc=40) == over_time + waveform.feature_names()


def test_the_recipe_counts_the_numbers_of_envelope_and_spectrum() -> None:
    page = text(ROOT / "docs" / "RECIPE.md")
    for name in ("envelope", "spectrum"):
        cells = re.findall(rf"^\| `{name}_(\d+)`(?:(?: to |, )`_(\d+)`)? \|", page, flags=re.MULTILINE)
        described = [number for first, last in cells for number in range(int(first), int(last or first) + 1)]
        assert described == list(range(sum(column.startswith(name) for column in waveform.feature_names())))
