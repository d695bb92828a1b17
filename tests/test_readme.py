"""The pages agree with the tree: README.md, docs/ and the comments of the presets."""

import importlib.util
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.core import TyperGroup

import project
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


def test_the_graph_of_the_pipeline_is_what_dvc_draws() -> None:
    shown = re.search(r"```mermaid\n(.*?)```", text(ARCHITECTURE), flags=re.DOTALL)
    assert shown is not None
    drawn = project.call(ROOT, "dvc", "dag", "--md").stdout
    expected = re.search(r"```mermaid\n(.*?)```", drawn, flags=re.DOTALL)
    assert expected is not None
    assert shown.group(1).split() == expected.group(1).split(), "put the output of `dvc dag --md` into ARCHITECTURE.md"


def files_between_stages() -> list[tuple[list[str], set[str], set[str]]]:
    """Paths, writers and readers of each row of the table of files."""
    rows = re.findall(
        r"^\| (`(?:data|metrics)/[^|]*) \| ([^|]+) \| [^|]+ \| ([^|]+) \|$", text(ARCHITECTURE), flags=re.MULTILINE
    )
    return [
        (re.findall(r"`([^`]+)`", paths), set(re.findall(r"`(\w+)`", writers)), set(re.findall(r"`(\w+)`", readers)))
        for paths, writers, readers in rows
    ]


def meet(one: str, other: str) -> bool:
    """Whether two paths are equal, or one lies in the other; ``<...>`` and ``${...}`` stand for anything."""
    parts = [re.sub(r"\$\{[^}]+\}|<[^>]+>", "*", path).rstrip("/").split("/") for path in (one, other)]
    return all(fnmatch(a, b) or fnmatch(b, a) for a, b in zip(*parts, strict=False))


def test_the_table_of_files_has_every_file_with_its_writers_and_readers() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    rows = files_between_stages()
    assert len(rows) > 20
    for name, stage in stages.items():
        written = [
            next(iter(out)) if isinstance(out, dict) else out
            for key in ("outs", "metrics", "plots")
            for out in stage.get(key, [])
        ]
        for out in written:
            writers = [found for paths, found, _ in rows if any(meet(path, out) for path in paths)]
            assert any(name in found for found in writers), f"{out} of {name}"
        read = [dep for dep in stage["deps"] if dep.startswith(("data/", "metrics/"))]
        for dep in read:
            readers = [found for paths, _, found in rows if any(meet(path, dep) for path in paths)]
            assert any(name in found for found in readers), f"{dep} of {name}"
        for paths, writers_of, readers_of in rows:
            assert name not in writers_of or any(meet(path, out) for path in paths for out in written), (
                f"{paths}, {name}"
            )
            assert name not in readers_of or any(meet(path, dep) for path in paths for dep in read), f"{paths}, {name}"


def test_every_stage_is_in_the_table() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    page = text(ARCHITECTURE)
    assert [name for name in stages if not re.search(rf"^\| `{name}(@k)?` \|", page, flags=re.MULTILINE)] == []


def test_the_readme_is_short_and_shows_its_command_a_time_and_a_real_result_first() -> None:
    assert len(text(README).splitlines()) <= 120
    first_screen = "\n".join(text(README).splitlines()[:30])
    assert all(part in first_screen for part in ("make repro", "minutes", "data/submission.csv", "ESC-10"))


@each_page()
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text(page)) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []


@each_page()
def test_every_path_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"(?<![\w/.<-])((?:fsat|stages|scripts|tests|benchmarks|presets|sources|metrics|docs|data)/"
                       r"[\w./-]*\w)(?![\w/<*-])", text(page))  # fmt: skip
    assert [name for name in named if not name.startswith(MADE) and not (ROOT / name).exists()] == []


@each_page()
def test_every_command_a_page_names_exists(page: Path) -> None:
    modules = re.findall(r"python -m ((?:fsat|stages|scripts|benchmarks)[\w.]*)", text(page))
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
