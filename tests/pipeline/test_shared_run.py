"""Machines that share a DVC remote: nothing is trained twice."""

from pathlib import Path

import project


def test_each_machine_trains_its_folds_and_the_last_one_none(finished_project: Path, tmp_path: Path) -> None:
    machines = []
    for name in ("first", "second", "third"):
        machines.append(project.with_remote(project.clone(tmp_path / name), tmp_path / "store"))
    first, second, third = machines
    ran = project.shared_run(first, "--folds", "0")
    assert ran & project.TRAINING == {"stage1@0", "stage2@0"} and ran >= project.FEATURES
    ran = project.shared_run(second, "--folds", "1")
    assert ran & project.TRAINING == {"stage1@1", "stage2@1"}
    assert not ran & {"trim", "mel", "spectral"}, "features come from the remote"
    ran = project.shared_run(third)
    assert not ran & (project.TRAINING | {"trim", "mel", "spectral", "predict@0", "predict@1"})
    assert project.locks(third) == project.locks(finished_project)
