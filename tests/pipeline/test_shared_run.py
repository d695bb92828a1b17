"""Machines that share a DVC remote: nothing is trained twice, and a killed run loses at most one fold."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

import project
from scripts import check_lock, folds, shared_run


def killed_at(folder: Path, stage: str) -> set[str]:
    """Start a shared run and kill all its processes when it says that `stage` starts; the stages it had named."""
    named: set[str] = set()
    with subprocess.Popen(
        ["python", "-m", "scripts.shared_run"],
        cwd=folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                if line.startswith("Running stage '"):
                    named.add(line.split("'")[1])
                if stage in named:
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    return named


def test_no_machine_trains_what_another_one_has(finished_project: Path, tmp_path: Path) -> None:
    machines = []
    for name in ("first", "second", "third"):
        machines.append(project.with_remote(project.clone(tmp_path / name), tmp_path / "store"))
    first, second, third = machines
    ran = killed_at(first, "stage1@1")
    assert ran & project.TRAINING == {"stage1@0", "stage2@0", "stage1@1"} and ran >= project.FEATURES
    assert not (first / "data" / "models" / "stage1" / "fold1").exists(), "told while it ran, not afterwards"
    ran = project.shared_run(second, "--folds", "0,1")
    assert ran & project.TRAINING == {"stage1@1", "stage2@1"}, "fold 0 comes from the remote"
    assert not ran & {"trim", "mel", "spectral", "predict@0"}
    ran = project.shared_run(third)
    assert not ran & (project.TRAINING | {"trim", "mel", "spectral", "predict@0", "predict@1"})
    assert project.locks(third) == project.locks(finished_project)


def test_a_parameter_reaches_no_shell(finished_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts call no DVC before the schema; where DVC itself is called, the stage `folds` comes first, and refuses."""
    folder = Path(shutil.copytree(finished_project, tmp_path / "copy", symlinks=True))
    project.set_parameters(folder, **{"folds.ids": ["0; touch X; true"]})
    done = project.call(folder, "dvc", "repro", "stage1", check=False)  # no other stage that has folds.ids before it
    assert done.returncode and "folds.ids[0]: must be an integer" in done.stderr and not (folder / "X").exists()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("DVC was called"))
    for script, words in (
        (folds, ["--workers", "1"]),
        (shared_run, ["--folds", "0"]),
        (shared_run, []),
        (check_lock, []),
    ):
        monkeypatch.setattr(sys, "argv", ["script", *words])
        with pytest.raises(SystemExit, match=r"folds\.ids\[0\]: must be an integer"):
            script.main()


FAKE = """#!/bin/sh
echo "$@" >> calls
exit $FAKE_EXIT
"""


@pytest.fixture
def fake_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's parameters, a remote and a `dvc` that writes its arguments to the file `calls`."""
    shutil.copy(project.ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc").write_text(FAKE)
    (tmp_path / "dvc").chmod(0o755)
    store = tmp_path / "store" / "files" / "md5" / "ab"
    store.mkdir(parents=True)
    remote = SimpleNamespace(path=str(store.parent), fs=SimpleNamespace(protocol="local"))
    monkeypatch.setattr(shared_run, "_remote", lambda: remote)
    monkeypatch.setattr(sys, "argv", ["shared_run", "--folds", "0"])
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return store


def ended(monkeypatch: pytest.MonkeyPatch, exit_code: int = 0) -> str:
    """The one line that a shared run of fold 0 ends with, before anything was trained; empty if it trains."""
    monkeypatch.setenv("FAKE_EXIT", str(exit_code))
    Path("calls").write_text("")
    try:
        shared_run.main()
    except SystemExit as error:
        assert "repro" not in Path("calls").read_text()
        return str(error)
    assert "repro --pull stage1@0" in Path("calls").read_text()
    return ""


@pytest.mark.parametrize("exit_code", [0, 1, 255])
def test_a_remote_that_refuses_trains_nothing(exit_code: int, fake_dvc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC pulls with exit code 0 where something is missing, with 1 or 255 where the remote is refused or away."""
    line = ended(monkeypatch, exit_code)
    assert bool(line) == bool(exit_code) and "\n" not in line
    assert not line or line.startswith("failed: dvc pull --quiet --run-cache --allow-missing. The remote refuses")


def test_a_folder_that_cannot_be_read_is_no_empty_remote(fake_dvc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC takes either for a remote without files."""
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path) == fake_dvc:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        assert ended(monkeypatch).startswith(f"{fake_dvc}: the DVC remote cannot be read (Permission denied). ")
    shutil.rmtree("store")
    assert "store: the DVC remote cannot be read (No such file or directory). Mount it" in ended(monkeypatch)
    shared_run._remote().fs.protocol = "http"
    assert "no run cache over HTTP" in ended(monkeypatch)


def test_a_project_without_remote_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.call(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="no DVC remote to share results through: "):
        shared_run.check_remote()
    monkeypatch.setattr(shared_run, "_remote", Mock(side_effect=ImportError("s3 requires dvc-s3")))
    with pytest.raises(SystemExit, match="share results through: s3 requires dvc-s3"):
        shared_run.check_remote()
