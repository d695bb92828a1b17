"""What guards a change: the check of a commit, the hooks before it, and the order of the tests."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import project

MAKE = """#!/bin/sh
echo "make $*"
case "$*" in *check-lock*) exit $LOCK ;; esac
exit $TEST
"""


@pytest.mark.parametrize(("test", "lock", "code"), [(0, 0, 0), (2, 0, 2), (0, 3, 3), (2, 3, 2)])
def test_a_change_must_pass_the_tests_and_the_check_of_its_lock(
    test: int, lock: int, code: int, tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(project.ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TEST": str(test)}
    result = subprocess.run(
        [script], env=environment | {"LOCK": str(lock)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == code
    assert result.stdout.splitlines() == ["make test", "make --silent check-lock"]


def test_no_job_keeps_the_token_of_its_checkout() -> None:
    for path in (project.ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
            assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts), path.name


def test_hooks_before_a_commit_are_those_of_make_lint() -> None:
    makefile = (project.ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^lint: setup\n((?:\t.+\n)+)", makefile, flags=re.MULTILINE)
    commands = re.findall(r"\$\(RUN\) (.+)", recipe)
    config = yaml.safe_load((project.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    assert entries == [f".venv/bin/{command}" for command in commands]
