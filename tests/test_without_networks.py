"""Stages of a run that trains no network, or stage 1 alone: empty outputs of training, and all that follows."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_run
import yaml
from tiny_bundle import inside, project

from fsat.core import files, fold_folders
from fsat.core.errors import FsatError
from fsat.scoring.names import STAGES
from stages import calibrate, ensemble, evaluate, folds, predict, report, stage1, stage2, thresholds

__all__ = ["project"]


@pytest.mark.parametrize("views", [("last",), ()])
def test_tables_without_networks_flow_from_training_to_the_report(
    tmp_path: Path, views: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny_run.make_run(tmp_path / "clips", models=("statistics", *views), views=views, networks=(), choose="best")
    tiny_run.write(run, tmp_path)
    rng, train = np.random.default_rng(0), run.index["split"] == "train"
    for split, clips in (("train", run.index[train]), ("test", run.index[~train])):
        table = pd.DataFrame({"fname": clips["fname"]} | {f"{view}.0": rng.normal(size=len(clips)) for view in views})
        files.write_parquet(tmp_path / f"data/embeddings/{split}.parquet", table)
    with contextlib.chdir(tmp_path):
        for fold in ("0", "2"):
            for stage in (stage1, stage2, predict):
                stage.main(fold)
        for scoring in (ensemble, calibrate, thresholds, evaluate, report):
            scoring.main()
        assert files.read_json("data/models/stage2/fold2/summary.json")["run"] is False
        pd.testing.assert_frame_equal(files.read_parquet("data/predictions.parquet"), run.predictions)
        assert len(files.read_csv("data/submission.csv")) == 12
        assert files.read_csv("metrics/learning_curve_stage1.csv").columns[0] == "epoch"
        cv = files.read_json("metrics/map3.json")["cv"]
        found = files.read_json("metrics/calibration.json")
        page = Path("data/report/index.html").read_text(encoding="utf-8")
    assert list(cv) == ["statistics", *views, "submission"]
    assert list(found["temperature"]) == ["submission"] and list(found["unknown"]["threshold"]) == list(views)
    assert "Learning curves" not in page and "Submission" in page
    told = capsys.readouterr().out
    assert "data/models/stage1/fold0: no network is trained, as train.stage1.run is false" in told
    assert "stage 1" not in told and "optimistic" not in told


def test_a_fold_that_there_is_none_of_has_empty_outputs_and_is_named(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three clips a label make three folds of the five that are asked for."""
    values = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    for name in ("data/index.csv", values["dataset"]["corrections"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(project / name, tmp_path / name)
    with inside(tmp_path):
        for ids in ([4, 0], [3, 4]):
            values["folds"] |= {"n_splits": 5, "ids": ids}
            Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
            refused = pytest.raises(FsatError, match=r"folds\.ids: names none of the 3 folds\. Got 3, 4")
            with refused if 0 not in ids else contextlib.nullcontext():
                folds.main()
        for stage in (stage1, stage2, predict):
            stage.main("4")
        assert all(fold_folders.is_empty(Path(f"data/models/{stage}/fold4")) for stage in STAGES)
        assert files.read_parquet("data/predictions/fold4/predictions.parquet").empty
    said = capsys.readouterr()
    assert "3 folds instead of 5 (folds.n_splits), as label Bark has 3 clips" in said.err
    assert "there are 3 folds: 4 of folds.ids stay empty" in said.out
    assert "data/models/stage1/fold4: no network is trained, as there is no fold 4" in said.out


def test_stage_1_alone_predicts_as_it_did_beside_stage_2(project: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(project, tmp_path / "run", ignore=shutil.ignore_patterns("bundle")))
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    values["train"]["stage2"]["run"], values["ensemble"]["models"] = False, ["stage1", "statistics"]
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    tables = [f"data/predictions/fold{fold}/{name}.parquet" for fold in (0, 1) for name in ("predictions", "unknown")]
    with inside(folder):
        expected = {name: files.read_parquet(name).query("model == 'stage1'") for name in tables}
        for name, table in expected.items():
            files.write_parquet(name, table)
        stage2.main("0")
        predict.main("0")
        for name, table in expected.items():
            pd.testing.assert_frame_equal(files.read_parquet(name), table.reset_index(drop=True), check_exact=True)
        assert list(files.read_npz("data/predictions/fold0/reference.npz")) == ["stage1"]
        for scoring in (ensemble, calibrate, thresholds, evaluate):
            scoring.main()
        assert list(files.read_json("metrics/map3.json")["cv"]) == ["stage1", "statistics", "submission"]
        found = files.read_json("metrics/calibration.json")
    assert list(found["temperature"]) == ["stage1", "submission"] and list(found["unknown"]["threshold"]) == ["stage1"]
