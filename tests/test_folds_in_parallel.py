"""Folds side by side, and folds on several machines: the same lock as one serial run."""

import shutil
from pathlib import Path

import project


def test_two_workers_leave_the_lock_of_the_serial_run(finished_project: Path, tmp_path: Path) -> None:
    folder = project.clone(tmp_path)
    project.call(folder, "python", "-m", "scripts.folds", "--workers", "2")
    assert project.locks(folder) == project.locks(finished_project)


def test_a_failed_fold_is_named_and_ends_with_an_error(finished_project: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished_project, tmp_path / "copy", symlinks=True))
    project.set_parameters(folder, **{"train.stage1.cyclic.max_lr": 5.0e-4})
    script = folder / "stages" / "stage1.py"
    script.write_text(
        script.read_text().replace("    p = params.read(", '    assert fold == "0"\n    p = params.read(')
    )
    result = project.call(folder, "python", "-m", "scripts.folds", "--workers", "2", check=False)
    assert result.returncode != 0
    assert "stage1@1: failed, see" in result.stderr
    assert "failed: stage1@1" in result.stderr
    assert "stage1@0: done" in result.stdout


def test_a_third_clone_restores_what_two_others_trained(finished_project: Path, tmp_path: Path) -> None:
    """Each machine trains its fold and pushes the run cache; the last pulls it and trains nothing."""
    remote = tmp_path / "remote"
    clones = []
    for name in ("first", "second", "third"):
        folder = project.clone(tmp_path / name)
        project.call(folder, "dvc", "remote", "add", "--default", "shared", str(remote))
        clones.append(folder)
    # What one machine has trained: the finished run's cache stands for the hours it took.
    for fold, folder in enumerate(clones[:2]):
        shutil.copytree(finished_project / ".dvc" / "cache", folder / ".dvc" / "cache")
        project.call(folder, "dvc", "repro", f"stage2@{fold}")
        project.call(folder, "dvc", "push", "--run-cache")
    project.call(clones[2], "dvc", "pull", "--run-cache", "--allow-missing", check=False)
    output = project.call(clones[2], "dvc", "repro").stdout
    trained = [line for line in output.splitlines() if line.startswith("> python -m stages.stage")]
    assert trained == []
    assert project.locks(clones[2]) == project.locks(finished_project)
