"""The whole pipeline at a tiny size: from synthetic clips to a score, and what runs again."""

import json
import shutil
from pathlib import Path

import pandas as pd

import project
from fsat.clips import corrections
from fsat.clips.corrections import Correction

# Report and bundle, which take longest of what follows an evaluation, are left out where they show nothing more.
SCORES = ("evaluate", "calibrate", "thresholds")


def test_every_output_is_there(finished_project: Path) -> None:
    scores = json.loads((finished_project / "metrics" / "map3.json").read_text())
    assert set(scores["cv"]) == {"stage1", "stage2", "statistics", "submission"}
    assert set(scores["test"]) == {"all", "public", "private"}
    assert 0 < scores["test"]["all"] <= 1
    submission = pd.read_csv(finished_project / "data" / "submission.csv")
    assert submission.columns.tolist() == ["fname", "label"]
    index = pd.read_csv(finished_project / "data" / "index.csv")
    assert sorted(submission["fname"]) == sorted(index[index["split"] == "test"]["fname"])
    assert (submission["label"].str.count(" ") == 2).all()
    for stage in ("stage1", "stage2"):
        for fold in (0, 1):
            history = pd.read_csv(finished_project / "data" / "models" / stage / f"fold{fold}" / "history.csv")
            first = ["frozen"] if stage == "stage2" else []
            assert history["phase"].unique().tolist() == [*first, "cyclic", "finetune_low", "finetune_high"]
    assert not list((finished_project / "state").rglob("*.npz"))


def test_a_second_run_does_nothing_and_the_status_is_clean(copy: Path) -> None:
    assert project.repro(copy) == []
    assert "up to date" in project.call(copy, "dvc", "status", "dvc.yaml").stdout
    assert project.call(copy, "git", "status", "--porcelain").stdout == ""


def test_a_correction_trains_anew_and_computes_no_feature(copy: Path) -> None:
    """Folds, trainings and what follows; every score counts the dataset's own labels and all of its clips."""
    project.set_parameters(copy, **{"folds.ids": [0]})
    project.repro(copy, *SCORES)
    table = pd.read_csv(copy / "data" / "folds.csv")
    # Two clips that fold 0 learns from swap their labels, so that each label keeps its two clips in two folds.
    [first], [second] = (
        clips.head(1).to_dict("records") for _, clips in list(table[table["fold"] == 1].groupby("label"))[:2]
    )
    swapped = ((first, second), (second, first))
    rows = [Correction(one["fname"], "relabel", other["label"], by="test") for one, other in swapped]
    corrections.write(copy / "corrections" / "demo.csv", rows)
    scores = json.loads((copy / "metrics" / "map3.json").read_text())
    ran = set(project.repro(copy, *SCORES))
    assert ran == {"folds", "baseline", "stage1@0", "stage2@0", "predict@0", "ensemble", *SCORES}
    table = pd.read_csv(copy / "data" / "folds.csv").set_index("fname")
    for one, other in swapped:
        assert table.loc[one["fname"], ["label", "corrected"]].tolist() == [one["label"], other["label"]]
    predictions = pd.read_parquet(copy / "data" / "predictions.parquet")
    heldout = predictions[(predictions["split"] == "heldout") & (predictions["model"] == "stage2")]
    assert sorted(heldout["fname"]) == sorted(table.index[table["fold"] == 0])
    assert json.loads((copy / "metrics" / "map3.json").read_text())["n"] == scores["n"]


def test_a_new_test_clip_trains_nothing(copy: Path) -> None:
    # A folder of one's own, so that no source makes it: the demo's clips and one more in the test set.
    sounds = copy / "sounds" / "demo"
    shutil.copytree(copy / "data" / "demo", sounds)
    scoring = sounds / "FSDKaggle2018.meta" / "test_post_competition_scoring_clips.csv"
    table = pd.read_csv(scoring, keep_default_na=False)
    extra = table.iloc[[0]].assign(fname="ffffffff.wav", freesound_id=99999999)
    pd.concat([table, extra]).to_csv(scoring, index=False)
    clip = min((sounds / "FSDKaggle2018.audio_train").iterdir())
    shutil.copy(clip, sounds / "FSDKaggle2018.audio_test" / "ffffffff.wav")
    project.set_parameters(copy, **{"dataset.path": "sounds/demo", "folds.ids": [0]})
    ran = set(project.repro(copy, *SCORES))
    features = {"index", "trim", "mel", "embed", "spectral", "pca", "folds", "baseline"}
    assert ran == {*features, "predict@0", "ensemble", *SCORES}
    assert "ffffffff.wav" in pd.read_csv(copy / "data" / "submission.csv")["fname"].tolist()
