"""No code from data: a hostile pickle in place of each file a stage reads is refused by its name, and never run."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import project
from fsat.core.errors import FsatError
from hostile import Hostile, hostile_pickle

# Which stage meets the file first.
READ_BY = {
    "params.yaml": ("index",),
    "data/demo/FSDKaggle2018.meta/train_post_competition.csv": ("index",),
    "data/index.csv": ("trim",),
    "data/trim.csv": ("mel",),
    "data/filters/mel.npz": ("mel",),
    "data/filters/spectral.npz": ("spectral",),
    "data/mel/train/frames.npy": ("stage1", "0"),
    "data/mel/train/index.csv": ("stage1", "0"),
    "data/folds.csv": ("stage1", "0"),
    "data/pretrained/random.weights.h5": ("stage1", "0"),
    "data/spectral.parquet": ("pca",),
    "data/pca/train.parquet": ("stage2", "0"),
    "data/models/stage1/fold0/model.weights.h5": ("stage2", "0"),
    "data/models/stage1/fold0/summary.json": ("stage2", "0"),
    "data/models/stage2/fold0/model.weights.h5": ("predict", "0"),
    "data/pca/test.parquet": ("predict", "0"),
    "data/models/stage1/fold0/history.csv": ("ensemble",),
    "data/predictions/fold0/predictions.parquet": ("ensemble",),
    "data/models/stage2/fold0/history.csv": ("report",),
    "data/predictions.parquet": ("evaluate",),
    "data/predictions/fold0/unknown.parquet": ("calibrate",),
    "data/predictions/fold0/reference.npz": ("bundle",),
    "metrics/calibration.json": ("bundle",),
    "metrics/reliability.csv": ("report",),
    "metrics/models.csv": ("report",),
    "metrics/pca.json": ("report",),
    "metrics/pca_variance.csv": ("report",),
    "metrics/data.json": ("bundle",),
    "data/pca/projection.npz": ("bundle",),
}


@pytest.fixture(scope="module")
def copy(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "copy"
    shutil.copytree(finished_project, folder, symlinks=True)
    project.set_parameters(folder, **{"train.portable": False})  # else it would stay so in this process
    return folder


@pytest.mark.parametrize("name", READ_BY)
@pytest.mark.parametrize("kind", ["pickle", "npy"])
def test_a_pickle_is_refused_and_not_run(
    name: str, kind: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    path, trap = copy / name, tmp_path / "sprung"
    original = path.read_bytes()
    if kind == "pickle":
        path.write_bytes(hostile_pickle(trap))
    else:  # a pickle inside a valid array file
        with path.open("wb") as stream:
            np.save(stream, np.array([Hostile(trap)], dtype=object))
    stage, *arguments = READ_BY[name]
    try:
        with pytest.raises(FsatError) as refusal:
            importlib.import_module(f"stages.{stage}").main(*arguments)
    finally:
        path.write_bytes(original)
    assert not trap.exists()
    parts = Path(name).parts
    assert parts[-1] in str(refusal.value) or parts[-2] in str(refusal.value)
