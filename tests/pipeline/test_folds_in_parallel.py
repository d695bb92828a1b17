"""Folds side by side: the same lock as one serial run."""

import shutil
from pathlib import Path

import project


def test_two_workers_leave_the_lock_of_the_serial_run(finished_project: Path, tmp_path: Path) -> None:
    folder = project.clone(tmp_path)
    # All but the trainings of stage 1 comes from the run cache, as long as these give the same bytes.
    shutil.copytree(finished_project / ".dvc" / "cache", folder / ".dvc" / "cache", symlinks=True)
    for record in (folder / ".dvc" / "cache" / "runs").glob("*/*/*"):
        if "stages.stage1 " in record.read_text():
            shutil.rmtree(record.parent)
    project.call(folder, "python", "-m", "scripts.folds", "--workers", "2")
    assert "epoch    1" in (folder / "logs" / "stage1-fold1.log").read_text()
    assert project.locks(folder) == project.locks(finished_project)


def test_a_failed_fold_is_named_and_ends_with_an_error(copy: Path) -> None:
    project.set_parameters(copy, **{"train.stage1.cyclic.max_lr": 5.0e-4})
    script = copy / "stages" / "stage1.py"
    script.write_text(
        script.read_text().replace("    p = params.read(", '    assert fold == "0"\n    p = params.read(')
    )
    result = project.call(copy, "python", "-m", "scripts.folds", "--workers", "2", check=False)
    assert result.returncode != 0
    assert "stage1@1: failed, see" in result.stderr
    assert "failed: stage1@1" in result.stderr
    assert "stage1@0: done" in result.stdout
