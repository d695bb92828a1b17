"""What a pull request gets: a run of what it changes, the table of metrics, and a check of its lock."""

import json
import re
import shutil
from pathlib import Path

import pytest

import project


@pytest.fixture
def shared(finished_project: Path, tmp_path: Path) -> Path:
    """A finished project on its main branch, pushed to a remote."""
    folder = project.with_remote(
        Path(shutil.copytree(finished_project, tmp_path / "main", symlinks=True)), tmp_path / "store"
    )
    project.call(folder, "git", "branch", "--move", "main")
    project.call(folder, "dvc", "push", "--run-cache")
    return folder


def test_a_branch_and_an_experiment_run_what_they_change_and_get_a_table(shared: Path, tmp_path: Path) -> None:
    """Another `mixup.alpha` for one of the folds: no feature is computed. The baseline follows the choice of folds."""
    runner = tmp_path / "runner"
    project.call(tmp_path, "git", "clone", "--quiet", str(shared), str(runner))
    changes = {"mixup.alpha": 0.4, "folds.ids": [0]}
    project.set_parameters(runner, **changes)
    project.call(runner, "git", "checkout", "--quiet", "-b", "mixup")
    project.commit(runner, "more mixup")
    ran = project.shared_run(runner, "--against", "origin/main")
    fold = {"stage1@0", "stage2@0", "predict@0"}
    changed = fold | {"folds", "baseline", "ensemble", "evaluate", "calibrate", "thresholds"}
    assert ran == changed | {"report", "bundle"}
    table = (runner / "metrics_diff.md").read_text()
    old, new = (json.loads((folder / "metrics" / "map3.json").read_text()) for folder in (shared, runner))
    row = next(line for line in table.splitlines() if "| cv.stage2 " in line)
    cells = [cell.strip() for cell in row.split("|")]
    assert float(cells[3]) == pytest.approx(old["cv"]["stage2"], abs=1e-4)
    assert float(cells[4]) == pytest.approx(new["cv"]["stage2"], abs=1e-4)
    # The same change as an experiment, elsewhere: the trainings are the runner's, and its table fits a screen.
    other = tmp_path / "other"
    project.call(tmp_path, "git", "clone", "--quiet", str(shared), str(other))
    project.call(other, "dvc", "pull", "--quiet", "--run-cache", "--allow-missing", check=False)
    words = [f"--set-param={key}={value}" for key, value in changes.items()]
    output = project.call(other, "dvc", "exp", "run", "--pull", *words, "evaluate", "calibrate").stdout
    found, ran = (set(re.findall(said, output)) for said in (r"Stage '(.*)' is cached", r"Running stage '(.*)'"))
    # Stages with metrics run: their files are in git, and so not in the remote.
    assert found | ran == changed and found >= fold
    difference = project.call(other, "dvc", "metrics", "diff").stdout
    assert "cv.stage2" in difference and len(difference.splitlines()) <= 40


def check_lock(folder: Path) -> tuple[int, str]:
    result = project.call(folder, "python", "-m", "scripts.check_lock", check=False)
    return result.returncode, result.stdout + result.stderr


def test_a_lock_is_checked_without_data(finished_project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    project.call(tmp_path, "git", "clone", "--quiet", str(finished_project), str(folder))
    assert check_lock(folder) == (0, "dvc.lock is up to date.\n")
    project.set_parameters(folder, **{"mixup.alpha": 0.4})
    code, text = check_lock(folder)
    assert code == 1 and "stage1@0" in text
    project.set_parameters(folder, **{"mixup.alpha": project.parameter(finished_project, "mixup.alpha")})
    with (folder / "fsat" / "features" / "mel.py").open("a") as stream:
        stream.write("# a remark\n")
    code, text = check_lock(folder)
    assert code == 1 and "mel" in text


def test_a_changed_stage_whose_inputs_are_there_is_noticed(copy: Path) -> None:
    with (copy / "stages" / "evaluate.py").open("a") as stream:
        stream.write("# a remark\n")
    code, text = check_lock(copy)
    assert code == 1 and "evaluate" in text
