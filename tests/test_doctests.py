"""Every example in a docstring of fsat is run by the same command that runs the tests."""

import ast
import doctest
import sys
from pathlib import Path

import pytest

import project

ROOT = project.ROOT


def documented(path: Path) -> list[int]:
    """How many examples each docstring of a module holds that has any."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]
    counts = [len(doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")) for node in nodes]
    return [count for count in counts if count]


def test_every_docstring_with_an_example_is_collected(pytestconfig: pytest.Config) -> None:
    assert "fsat" in pytestconfig.getini("testpaths")
    expected = {}
    for path in sorted((ROOT / "fsat").rglob("*.py")):
        counts = documented(path)
        prompts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith(">>> ")]
        assert sum(counts) == len(prompts), f"{path}: an example outside a docstring is never run"
        if counts:
            expected[path.relative_to(ROOT).as_posix()] = len(counts)
    output = project.call(ROOT, sys.executable, "-m", "pytest", "--collect-only", "--quiet", "fsat").stdout
    collected = dict(line.split(": ") for line in output.splitlines() if line.startswith("fsat/"))
    assert {name: int(count) for name, count in collected.items()} == expected
    assert expected
