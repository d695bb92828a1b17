"""Folders of other folds are moved, and none is lost; what a training that does not run writes."""

from pathlib import Path

import pytest

from fsat.core import fold_folders


def test_only_folders_of_other_folds_are_set_aside_and_none_is_lost(tmp_path: Path) -> None:
    models, aside = tmp_path / "models", tmp_path / "state" / "models"

    def train(fold: int, weights: str) -> None:
        (models / f"fold{fold}").mkdir(parents=True)
        (models / f"fold{fold}" / "weights").write_text(weights, encoding="utf-8")

    def kept() -> dict[str, str]:
        return {path.parent.name: path.read_text(encoding="utf-8") for path in aside.glob("*/weights")}

    train(0, "mine")
    train(2, "two")
    train(10, "ten")
    (models / "keep").mkdir()
    fold_folders.write_empty(models / "fold3", "train.stage1.run is false")  # nothing is lost with it
    lines = fold_folders.set_aside_other_folds(models, [0], aside, stage="stage1")
    for fold, line in zip((10, 2), lines, strict=True):
        assert f"`mv {aside / f'fold{fold}'} {models / f'fold{fold}'} && dvc commit stage1@{fold}`" in line
    assert sorted(path.name for path in models.iterdir()) == ["fold0", "keep"]
    assert kept() == {"fold2": "two", "fold10": "ten"}
    for weights in ("other", "two", "third", "other"):
        train(2, weights)
        fold_folders.set_aside_other_folds(models, [0], aside, stage="stage1")
    assert kept() == {"fold2": "two", "fold10": "ten", "fold2.1": "other", "fold2.2": "third"}


def test_a_training_that_does_not_run_writes_a_folder_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stage2" / "fold1"
    folder.mkdir(parents=True)
    (folder / "model.weights.h5").touch()  # of an earlier run
    fold_folders.write_empty(folder, "train.stage2.run is false")
    assert [path.name for path in folder.iterdir()] == ["summary.json"] and fold_folders.is_empty(folder)
    assert "no network is trained, as train.stage2.run is false" in capsys.readouterr().out
    (folder / "summary.json").write_text("{}")
    assert not fold_folders.is_empty(folder)
