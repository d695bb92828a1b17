"""What runs again: the answer of `scripts.invalidation` is held against what DVC says of a finished run."""

import contextlib
import re
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

import project
from scripts import invalidation

SCORES = ("evaluate", "calibrate", "thresholds")
STAGES = invalidation.read_stages(project.ROOT)
# The demo run uses these sources; the others are never asked for.
USED = {name for name in STAGES if name not in {"fsdkaggle2018", "imagenet", "audioset", "audioset-tagger"}}


def stale(folder: Path) -> set[str]:
    """Names, without folds, of the stages DVC would run because something they name has changed."""
    # DVC takes targets relative to the working folder.
    with contextlib.chdir(folder), Repo() as repo:
        status = repo.status(targets=["dvc.yaml", "sources/dvc.yaml:demo", "sources/dvc.yaml:random"])
    return {name.split(":")[-1].split("@")[0] for name in status}


def test_a_parameter_a_module_and_a_library_touch_the_stages_that_name_them(copy: Path) -> None:
    assert stale(copy) == set()
    module, library = "fsat/features/waveform.py", "scipy"
    versions = yaml.safe_load((copy / "versions.yaml").read_text()) | {library: "0.0.0"}
    changed = {
        "trim.top_db": ("params.yaml", (copy / "params.yaml").read_text().replace("top_db: ", "top_db: 1")),
        module: (module, (copy / module).read_text() + "\n# changed\n"),
        library: ("versions.yaml", yaml.safe_dump(versions)),
    }
    for name, (file, text) in changed.items():
        before = (copy / file).read_text()
        (copy / file).write_text(text)
        expected = invalidation.affected(STAGES, name) & USED
        assert stale(copy) == expected != set(), name
        (copy / file).write_text(before)
    project.set_parameters(copy, **{"mel.n_mels": 40})
    assert project.repro(copy, "spectral") == ["filters"]


def test_the_command_prints_what_names_a_thing_and_what_may_run_after(capsys: pytest.CaptureFixture[str]) -> None:
    invalidation.main(["mixup.alpha", "fsat/features/mel.py", "scipy", "mel", "fsat/core/seeds.py"], project.ROOT)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "mixup.alpha",
        "  named by: stage1, stage2, report",
        "  then, if their outputs change: predict, ensemble, evaluate, calibrate, thresholds, bundle",
    ]
    assert lines[4] == "  named by: mel, thresholds"
    assert "spectral" not in lines[5] and "stage1, stage2" in lines[5]
    assert lines[7].startswith("  named by: ") and {"mel", "stage1"} <= set(lines[10].split(": ")[1].split(", "))
    assert lines[12] == "fsat/core/seeds.py" and {"index", "stage1"} <= set(lines[13].split(": ")[1].split(", "))
    for name in ("fsat/core/seed.py", "fsat/cli.py"):
        with pytest.raises(SystemExit, match="no parameter, and no file or library that a stage names"):
            invalidation.main([name], project.ROOT)
    with pytest.raises(SystemExit, match=r"mixup\.alpah: no parameter.* Did you mean mixup\.alpha"):
        invalidation.main(["mixup.alpah"], project.ROOT)


def test_promises_of_the_design() -> None:
    def reruns(key: str) -> set[str]:
        first = invalidation.affected(STAGES, key)
        return first | invalidation.downstream(STAGES, first)

    features = {"index", "trim", "mel", "embed", "spectral", "pca", "folds"}
    assert not reruns("mixup.alpha") & features
    assert invalidation.affected(STAGES, "mel.n_mels") == {"filters", "mel", "embed", "thresholds", "report", "bundle"}
    assert not reruns("report.listed_clips") & {*features, "stage1", "stage2", "predict", "ensemble", "evaluate"}
    assert not reruns("ensemble.models") & {*features, "baseline", "stage1", "stage2", "predict"}
    assert not reruns("embed.views") & {"stage1", "stage2", "predict"}
    assert invalidation.affected(STAGES, "train.stage2.run") == {"stage2", "predict", "report"}
    assert not reruns("tta.tries") & {*features, "stage1", "stage2"}


def test_fewer_folds_and_back_trains_nothing_and_leaves_no_trace(copy: Path, tmp_path: Path) -> None:
    """Two folds, one, two again, as a user edits params.yaml: each time the lock of a clean clone."""
    before = project.locks(copy)
    project.set_parameters(copy, **{"folds.ids": [0]})
    ran = {name.split("@")[0] for name in project.repro(copy, *SCORES)}
    assert not ran & {"stage1", "stage2", "predict"}
    clean = project.clone(tmp_path / "clean", **{"folds.ids": [0]})
    shutil.copytree(copy / ".dvc" / "cache", clean / ".dvc" / "cache", symlinks=True)
    project.repro(clean, *SCORES)
    # DVC keeps the entries of stages that are gone; all others are those of the clean clone.
    expected = project.locks(clean)["dvc.lock"]
    assert {name: project.locks(copy)["dvc.lock"][name] for name in expected} == expected
    project.set_parameters(copy, **{"folds.ids": [0, 1]})
    trained = [name for name in project.repro(copy) if name.split("@")[0] in {"stage1", "stage2"}]
    output = project.call(copy, "dvc", "status", "dvc.yaml").stdout
    assert trained == [] and "up to date" in output
    assert project.locks(copy) == before


def forget_fold(folder: Path, fold: int) -> None:
    """Take what a fold's stages wrote out of DVC's cache, as if they had run under ``--no-commit``."""
    shutil.rmtree(folder / ".dvc" / "cache" / "runs")
    for stage in ("stage1", "stage2", "predict"):
        for out in project.locks(folder)["dvc.lock"][f"{stage}@{fold}"]["outs"]:
            (folder / ".dvc" / "cache" / "files" / "md5" / out["md5"][:2] / out["md5"][2:]).unlink()


def test_a_fold_that_was_set_aside_is_used_again_as_the_message_says(copy: Path) -> None:
    """Fold 1 is trained under ``--no-commit``, left out and taken back: nothing is trained again."""
    forget_fold(copy, 1)
    assert "stage1@1" in project.repro(copy, "--no-commit", "stage1@1")  # the other two would do the same
    before = project.locks(copy)
    weights = [copy / "data" / "models" / stage / "fold1" / "model.weights.h5" for stage in ("stage1", "stage2")]
    trained = [path.read_bytes() for path in weights]

    project.set_parameters(copy, **{"folds.ids": [0]})
    output = project.call(copy, "dvc", "repro", *SCORES).stdout
    assert not any(path.exists() for path in weights)
    ways_back = re.findall(r"To use it again, add the fold to folds\.ids, then: `(.*)`", output)
    assert len(ways_back) == 3

    project.set_parameters(copy, **{"folds.ids": [0, 1]})
    for command in ways_back:
        project.call(copy, "bash", "-c", command)
    ran = {name.split("@")[0] for name in project.repro(copy)}
    assert "ensemble" in ran and not ran & {"stage1", "stage2", "predict"}
    assert [path.read_bytes() for path in weights] == trained
    assert project.locks(copy) == before
