"""Machines that share a DVC remote: nothing is trained twice, and a killed run loses at most one fold."""

import os
import signal
import subprocess
from pathlib import Path

import project


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
