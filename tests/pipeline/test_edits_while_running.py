"""Files that somebody edits while DVC runs a stage: nothing false is recorded, and no epoch is lost."""

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


def test_edits_during_a_training(copy: Path) -> None:
    parameters, module = copy / "params.yaml", copy / "fsat/networks/head.py"
    project.set_parameters(copy, **{"train.stage1.cyclic.max_lr": 0.001})
    before = {path: path.read_bytes() for path in (parameters, module, copy / "dvc.lock")}
    recorded = runs(copy)

    def edit() -> None:
        project.set_parameters(copy, **{"train.stage1.cyclic.epochs": 99, "train.stage1.cyclic.max_lr": 0.5})
        module.write_bytes(before[module] + b"import no_such_module\n")

    code, printed = edited_run(copy, "stage1@0", lambda log: "epoch    1" in log.read_text(), edit)
    assert code != 0
    assert "train.stage1.cyclic.epochs was 2, is 99" in printed and "fsat/networks/head.py" in printed
    assert runs(copy) == recorded and (copy / "dvc.lock").read_bytes() == before[copy / "dvc.lock"]

    for path in (parameters, module):
        path.write_bytes(before[path])
    taken_up = project.call(copy, "dvc", "repro", "stage1@0").stdout
    assert "finished but not recorded" in taken_up and "epoch    1" not in taken_up
    recorded_now = project.locks(copy)["dvc.lock"]["stage1@0"]
    assert recorded_now["params"]["params.yaml"]["train.stage1"]["cyclic"] == {
        "epochs": 2, "half_cycle": 1, "base_lr": 0.0003, "max_lr": 0.001
    }  # fmt: skip


def test_an_edit_between_the_end_of_a_stage_and_dvc(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next stage, and whoever asks the guard, is told; the false record leaves the run cache."""
    note = copy / guard.NOTES / "pca.json"
    note.unlink(missing_ok=True)
    recorded, before = runs(copy), project.locks(copy)
    code, _ = edited_run(
        copy, "pca", lambda _: note.is_file(), lambda: project.set_parameters(copy, **{"pca.n_components": 2})
    )
    assert code == 0
    assert project.locks(copy)["dvc.lock"]["pca"]["params"]["params.yaml"] == {"pca.n_components": 2}  # false
    refused = project.call(copy, "python", "-m", "stages.folds", check=False)
    assert refused.returncode == 1 and "pca.n_components was 8, not 2" in refused.stderr
    assert runs(copy) == recorded
    monkeypatch.chdir(copy)
    with pytest.raises(FsatError, match="dvc repro --force --single-item pca"):
        guard.refuse_false_entries()
    project.set_parameters(copy, **{"pca.n_components": 8})
    project.repro(copy, "--single-item", "pca")
    guard.refuse_false_entries()
    assert project.locks(copy) == before
