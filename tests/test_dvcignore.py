"""What a killed process or a system leaves in a folder that DVC hashes is no part of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import project
from fsat.core import dvc_files, guard, loaded_code

KILLED = """
import os
from fsat.core import files
with files.atomic_folder("out/fold1") as folder, files.atomic_file("out/table.csv") as table:
    (folder / "weights").write_text("half")
    table.write_text("half")
    os._exit(9)
"""


def test_leftovers_of_killed_processes_and_systems_change_no_status(tmp_path: Path) -> None:
    (tmp_path / "out" / "fold0").mkdir(parents=True)
    (tmp_path / "out" / "fold0" / "weights").write_text("whole")
    project.call(tmp_path, "dvc", "init", "--quiet", "--no-scm")
    shutil.copy(project.ROOT / ".dvcignore", tmp_path)
    project.call(tmp_path, "dvc", "add", "--quiet", "out")
    environment = os.environ | {"PYTHONPATH": str(project.ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, check=False)
    assert killed.returncode == 9
    assert len(list((tmp_path / "out").iterdir())) == 3, "a folder and a file are left"
    assert "up to date" in project.call(tmp_path, "dvc", "status").stdout
    for name in (".DS_Store", "fold0/._weights", "Thumbs.db", "__MACOSX/fold0", "fold0/@eaDir/weights"):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).touch()
    assert "up to date" in project.call(tmp_path, "dvc", "status").stdout
    (tmp_path / "out" / "fold0" / "weights").write_text("other")
    assert "out" in project.call(tmp_path, "dvc", "status").stdout


def test_of_the_common_code_the_modules_alone_count(tmp_path: Path) -> None:
    core = tmp_path / "fsat" / "core"
    shutil.copytree(project.ROOT / "fsat" / "core", core, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project.ROOT / ".dvcignore", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: python --version\n    deps: [fsat/core]\n")
    project.call(tmp_path, "dvc", "init", "--quiet", "--no-scm")
    project.call(tmp_path, "dvc", "repro")
    [recorded] = dvc_files.entry(dvc_files.entries(tmp_path / "dvc.lock")["one"])["deps"]
    assert guard._code(["fsat/core"], loaded_code.LOADED) == {"fsat/core": recorded["md5"]}
    for name in ("notes.txt", "#guard.py#", "guard.py~", ".guard.py.swp", "guard.py.orig", "__pycache__/guard.pyc"):
        (core / name).parent.mkdir(exist_ok=True)
        (core / name).write_text("x")
    (core / ".#guard.py").symlink_to("nobody@nowhere")  # as Emacs marks a file that is open
    assert "up to date" in project.call(tmp_path, "dvc", "status").stdout
    (core / "more").mkdir()
    (core / "more" / "module.py").write_text("")
    assert "fsat/core" in project.call(tmp_path, "dvc", "status").stdout


def test_a_link_to_nowhere_among_the_modules_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fsat").mkdir()
    (tmp_path / "fsat" / "page.py").write_text("")
    (tmp_path / "fsat" / ".#page.py").symlink_to("nobody@nowhere")
    monkeypatch.setattr(loaded_code, "_ROOT", tmp_path)
    assert list(loaded_code.digests()) == ["fsat/page.py"]
