"""What runs again: every parameter and every module is changed in a finished run, and DVC is asked."""

import contextlib
import re
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

import project
from fsat.core import params
from scripts import invalidation

ROOT = Path(__file__).parents[2]
STAGES = invalidation.read_stages(ROOT)
# The demo run uses these sources; the others are never asked for.
USED = {name for name in STAGES if name not in {"fsdkaggle2018", "imagenet", "audioset", "audioset-tagger"}}


@pytest.fixture(scope="module")
def changed(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run whose files a test changes and puts back."""
    return Path(shutil.copytree(finished_project, tmp_path_factory.mktemp("changed") / "copy", symlinks=True))


def stale(folder: Path) -> set[str]:
    """Names, without folds, of the stages DVC would run because something they name has changed."""
    # DVC takes targets relative to the working folder.
    with contextlib.chdir(folder), Repo() as repo:
        status = repo.status(targets=["dvc.yaml", "sources/dvc.yaml:demo", "sources/dvc.yaml:random"])
    return {name.split(":")[-1].split("@")[0] for name in status}


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "INVALIDATION.md").read_text(encoding="utf-8")
    assert page == invalidation.page(ROOT), "run `python -m scripts.invalidation`"


def test_a_finished_run_is_stale_nowhere(changed: Path) -> None:
    assert stale(changed) == set()


def other_value(key: str, value: object) -> object:
    """Another value for a leaf; DVC compares values, whether they make sense or not."""
    if key == "folds.ids":
        return [0]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, "other"]
    return f"{value}-other"


def test_every_parameter_touches_exactly_the_stages_of_the_table(changed: Path) -> None:
    path = changed / "params.yaml"
    text = path.read_text()
    wrong = {}
    for key in params.leaves():
        if key in {"dataset.path", "model.weights"}:
            continue  # they choose a source, which then has to run: tried on its own below
        *sections, leaf = key.split(".")
        value = yaml.safe_load(text)
        for name in sections:
            value = value[name]
        project.set_parameters(changed, **{key: other_value(key, value[leaf])})
        expected = invalidation.affected(STAGES, parameter=key) & USED
        if (found := stale(changed)) != expected:
            wrong[key] = (found, expected)
        path.write_text(text)
    assert wrong == {}


def test_every_module_touches_exactly_the_stages_of_the_table(changed: Path) -> None:
    wrong = {}
    for file in sorted({file for stage in STAGES.values() for file in invalidation.declared(stage)[0]}):
        path = changed / file
        text = path.read_text()
        path.write_text(text + "\n# changed\n")
        expected = {name for name in USED if file in invalidation.declared(STAGES[name])[0]}
        if (found := stale(changed)) != expected:
            wrong[file] = (found, expected)
        path.write_text(text)
    assert wrong == {}


def test_every_library_touches_exactly_the_stages_of_the_table(changed: Path) -> None:
    path = changed / "versions.yaml"
    text = path.read_text()
    for library in yaml.safe_load(text):
        path.write_text(yaml.safe_dump(yaml.safe_load(text) | {library: "0.0.0"}))
        expected = {name for name in USED if library in invalidation.declared(STAGES[name])[2]}
        assert stale(changed) == expected, library
        path.write_text(text)


def test_promises_of_the_design() -> None:
    def reruns(key: str) -> set[str]:
        first = invalidation.affected(STAGES, parameter=key)
        return first | invalidation.downstream(STAGES, first)

    features = {"index", "trim", "mel", "embed", "spectral", "pca", "folds"}
    assert not reruns("mixup.alpha") & features
    assert "spectral" not in reruns("mel.n_mels")
    assert invalidation.affected(STAGES, parameter="mel.n_mels") == {"audioset", "filters", "mel", "report", "bundle"}
    assert not reruns("report.mistakes") & {*features, "stage1", "stage2", "predict", "ensemble", "evaluate"}
    assert not reruns("tta.tries") & {*features, "stage1", "stage2"}


def test_fewer_folds_and_back_trains_nothing_and_leaves_no_trace(finished_project: Path, tmp_path: Path) -> None:
    """Two folds, one, two again, as a user edits params.yaml: each time the lock of a clean clone."""
    folder = Path(shutil.copytree(finished_project, tmp_path / "copy", symlinks=True))
    before = project.locks(folder)
    project.set_parameters(folder, **{"folds.ids": [0]})
    ran = {name.split("@")[0] for name in project.repro(folder)}
    assert not ran & {"stage1", "stage2", "predict"}
    clean = project.clone(tmp_path / "clean", **{"folds.ids": [0]})
    shutil.copytree(finished_project / ".dvc" / "cache", clean / ".dvc" / "cache", symlinks=True)
    project.repro(clean)
    # DVC keeps the entries of stages that are gone; all others are those of the clean clone.
    expected = project.locks(clean)["dvc.lock"]
    assert {name: project.locks(folder)["dvc.lock"][name] for name in expected} == expected
    project.set_parameters(folder, **{"folds.ids": [0, 1]})
    trained = [name for name in project.repro(folder) if name.split("@")[0] in {"stage1", "stage2"}]
    output = project.call(folder, "dvc", "status", "dvc.yaml").stdout
    assert trained == [] and "up to date" in output
    assert project.locks(folder) == before


def forget_fold(folder: Path, fold: int) -> None:
    """Take what a fold's stages wrote out of DVC's cache, as if they had run under ``--no-commit``."""
    shutil.rmtree(folder / ".dvc" / "cache" / "runs")
    for stage in ("stage1", "stage2", "predict"):
        for out in project.locks(folder)["dvc.lock"][f"{stage}@{fold}"]["outs"]:
            (folder / ".dvc" / "cache" / "files" / "md5" / out["md5"][:2] / out["md5"][2:]).unlink()


def test_a_fold_that_was_set_aside_is_used_again_as_the_message_says(finished_project: Path, tmp_path: Path) -> None:
    """Fold 1 is trained under ``--no-commit``, left out and taken back: nothing is trained again."""
    folder = Path(shutil.copytree(finished_project, tmp_path / "copy", symlinks=True))
    forget_fold(folder, 1)
    assert {"stage1@1", "stage2@1", "predict@1"} == {
        name for name in project.repro(folder, "--no-commit") if name.split("@")[0] in {"stage1", "stage2", "predict"}
    }
    before = project.locks(folder)
    weights = [folder / "data" / "models" / stage / "fold1" / "model.weights.h5" for stage in ("stage1", "stage2")]
    trained = [path.read_bytes() for path in weights]

    project.set_parameters(folder, **{"folds.ids": [0]})
    output = project.call(folder, "dvc", "repro").stdout
    assert not any(path.exists() for path in weights)
    ways_back = re.findall(r"To use it again, add the fold to folds\.ids, then: `(.*)`", output)
    assert len(ways_back) == 3

    project.set_parameters(folder, **{"folds.ids": [0, 1]})
    for command in ways_back:
        project.call(folder, "bash", "-c", command)
    ran = {name.split("@")[0] for name in project.repro(folder)}
    assert "ensemble" in ran and not ran & {"stage1", "stage2", "predict"}
    assert [path.read_bytes() for path in weights] == trained
    assert project.locks(folder) == before
