"""Files that somebody edits while DVC runs a stage: nothing false is recorded, and no epoch is lost."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import project
from fsat.core import guard
from fsat.core.errors import FsatError


def edited_run(folder: Path, stage: str, is_time: Callable[[Path], bool], edit: Callable[[], None]) -> tuple[int, str]:
    """Run one stage, edit at some moment; returns exit code and what was printed."""
    log = folder / "output.log"
    with log.open("w") as stream:
        command = ["dvc", "repro", "--force", "--single-item", stage]
        process = subprocess.Popen(command, cwd=folder, env=project.environment(), stdout=stream, stderr=stream)
    deadline = time.monotonic() + 120
    while not is_time(log):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.002)
    edit()
    return process.wait(), log.read_text(encoding="utf-8")


def runs(folder: Path) -> set[str]:
    """Records of the run cache."""
    return {path.name for path in folder.glob(".dvc/cache/runs/*/*/*")}


def test_edits_during_a_training(finished_project: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished_project, tmp_path / "copy", symlinks=True))
    parameters, module = folder / "params.yaml", folder / "fsat/networks/head.py"
    before = {path: path.read_bytes() for path in (parameters, module, folder / "dvc.lock")}
    recorded = runs(folder)

    def edit() -> None:
        project.set_parameters(folder, **{"train.stage1.cyclic.epochs": 99, "train.stage1.cyclic.max_lr": 0.5})
        module.write_bytes(before[module] + b"import no_such_module\n")

    code, printed = edited_run(folder, "stage1@0", lambda log: "epoch    1" in log.read_text(), edit)
    assert code != 0
    assert "train.stage1.cyclic.epochs was 2, is 99" in printed and "fsat/networks/head.py" in printed
    assert runs(folder) == recorded and (folder / "dvc.lock").read_bytes() == before[folder / "dvc.lock"]

    for path in (parameters, module):
        path.write_bytes(before[path])
    taken_up = project.call(folder, "dvc", "repro", "stage1@0").stdout
    assert "finished but not recorded" in taken_up and "epoch    1" not in taken_up
    assert project.locks(folder) == project.locks(finished_project)


def test_an_edit_between_the_end_of_a_stage_and_dvc(
    finished_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next stage, and whoever asks the guard, is told; the false record leaves the run cache."""
    folder = Path(shutil.copytree(finished_project, tmp_path / "copy", symlinks=True))
    note = folder / guard.NOTES / "pca.json"
    note.unlink(missing_ok=True)
    recorded = runs(folder)
    code, _ = edited_run(
        folder, "pca", lambda _: note.is_file(), lambda: project.set_parameters(folder, **{"pca.n_components": 2})
    )
    assert code == 0
    assert project.locks(folder)["dvc.lock"]["pca"]["params"]["params.yaml"] == {"pca.n_components": 2}  # false
    refused = project.call(folder, "python", "-m", "stages.folds", check=False)
    assert refused.returncode == 1 and "pca.n_components was 8, not 2" in refused.stderr
    assert runs(folder) == recorded
    monkeypatch.chdir(folder)
    with pytest.raises(FsatError, match="dvc repro --force --single-item pca"):
        guard.refuse_false_entries()
    project.set_parameters(folder, **{"pca.n_components": 8})
    project.repro(folder, "--single-item", "pca")
    guard.refuse_false_entries()
    assert project.locks(folder) == project.locks(finished_project)
