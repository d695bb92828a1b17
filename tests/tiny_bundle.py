"""A whole run in miniature, made by the stages' own scripts but for training: the networks keep random weights.

Three labels, nine training and three test clips of about half a second, two folds, MobileNetV2 at width 0.35.
"""

import contextlib
import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from conftest import made_once
from fsat.clips import corrections
from fsat.core import files
from fsat.core.mel_styles import MEL_STYLES
from fsat.inputs import batches, frames
from fsat.tagger import bundle as bundles

ROOT = Path(__file__).parents[1]
LABELS = ["Bark", "Gong", "Hi-hat"]
RATE = 44_100
FOLDS = [0, 1]


def tone(hz: float, seconds: float, *, seed: int = 0) -> np.ndarray:
    """A decaying tone with some noise, half a second of silence in front and behind: float32 (n,)."""
    t = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.02, len(t))
    sound = (0.5 * np.sin(2 * np.pi * hz * t) + noise) * np.exp(-2 * t)
    return np.pad(sound, RATE // 2).astype(np.float32)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, with one process, as a stage does that DVC runs."""
    before, jobs = Path.cwd(), os.environ.get("FSAT_JOBS")
    os.chdir(folder)
    os.environ["FSAT_JOBS"] = "1"
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop("FSAT_JOBS")
        if jobs is not None:
            os.environ["FSAT_JOBS"] = jobs


def write_clips(folder: Path) -> None:
    """One folder a class, and a test folder whose clips differ in length, rate and channels."""
    for label, hz in zip(LABELS, (300, 900, 4000), strict=True):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            soundfile.write(folder / label / f"{number}.wav", tone(hz + 20 * number, 0.4 + 0.1 * number), RATE)
    (folder / "test").mkdir()
    soundfile.write(folder / "test" / "short.wav", tone(500, 0.2, seed=1), RATE)
    soundfile.write(folder / "test" / "long.flac", tone(900, 0.9, seed=2), RATE)
    stereo = np.stack([tone(4000, 0.6, seed=3), tone(4100, 0.6, seed=4)], axis=1)
    soundfile.write(folder / "test" / "stereo.wav", stereo, 48_000)


def write_parameters(folder: Path) -> None:
    """The demo's parameters, smaller."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["dataset"]["path"] = "sounds"
    values["mel"]["n_mels"] = 32
    values["pca"]["n_components"] = 5
    values["folds"] |= {"n_splits": 3, "ids": list(FOLDS)}
    values["ensemble"]["models"] = ["stage2", "statistics"]
    values["model"]["weights"] = "initial.weights.h5"
    values["tta"] |= {"lengths": 2, "tries": 2}
    values["train"]["portable"] = False  # TensorFlow reads the limits once a process, and most tests set none
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    corrections.write(folder / values["dataset"]["corrections"], [])


def write_networks() -> None:
    """What training leaves in data/models/, without training: batch norms that a few batches have warmed up."""
    import keras

    from fsat.core import params
    from fsat.inputs import examples
    from fsat.networks import model

    p = params.read()
    store = frames.open_frames("data/mel/train", limits=MEL_STYLES["librosa"].limits)
    bounds = batches.length_range(store.lengths, p.crop.percentiles, step=p.crop.step)
    components = files.read_parquet("data/pca/train.parquet")
    names = store.fnames
    clips = examples.make_clips(store, names, components=components)
    batch = next(batches.crop_pass(clips, bounds[1], len(names), (0, "warm")))
    for stage, n_components in (("stage1", 0), ("stage2", components.shape[1] - 1)):
        network: dict[str, Any] = {
            "backbone": "MobileNetV2",
            "width": 0.35,
            "batchnorm_momentum": 0.0,
            "n_mels": p.mel.n_mels,
            "n_classes": len(LABELS),
            "n_components": n_components,
        }
        keras.utils.set_random_seed(5)
        built = model.build_network(**network)
        inputs = {name: value for name, value in batch.items() if name in {t.name for t in built.inputs}}
        # Running averages of real clips, or every clip would look alike.
        built(inputs, training=True)
        model.save_trunk(built.get_layer("trunk"), "initial.weights.h5")
        for fold in FOLDS:
            folder = Path(f"data/models/{stage}/fold{fold}")
            folder.mkdir(parents=True)
            head = built.get_layer("probabilities")
            # Of a size that no probability comes near 0 or 1, where every prediction would look alike.
            head.set_weights([np.random.default_rng(fold).normal(0, 0.03, w.shape) for w in head.get_weights()])
            built.save_weights(folder / "model.weights.h5")
            (folder / "history.csv").write_text(
                "epoch,phase,learning_rate,loss,val_loss,val_map3,val_accuracy\n1,cyclic,0.001,1.0,1.0,0.5,0.5\n"
            )
            summary = {"network": network, "labels": LABELS, "parameters": built.count_params(), "bounds": list(bounds)}
            files.write_json(folder / "summary.json", summary)


def make(folder: Path) -> None:
    """Run the stages in an empty folder."""
    write_clips(folder / "sounds")
    write_parameters(folder)

    def run(stages: str, *words: str) -> None:
        for name in stages.split():
            importlib.import_module(f"stages.{name}").main(*words)

    with inside(folder):
        run("index trim filters mel spectral pca folds")
        write_networks()
        for fold in FOLDS:
            run("predict", str(fold))
        run("embed baseline ensemble calibrate thresholds evaluate bundle")


def make_without_networks(folder: Path, project: Path) -> None:
    """The same clips and features by regressions alone, five folds asked for where a label has clips for three."""
    from fsat.networks import efficientat, model

    kept = shutil.ignore_patterns("models", "predictions", "bundle")
    shutil.copytree(project, folder, dirs_exist_ok=True, ignore=kept)
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    values["folds"] |= {"n_splits": 5, "ids": [0, 1, 2, 4]}
    values["model"] |= {"backbone": "EfficientAT", "width": 0.4, "weights": "trunk.weights.h5"}
    values["embed"]["views"], values["ensemble"]["models"] = ["last", "middle"], ["last", "middle", "statistics"]
    for stage in ("stage1", "stage2"):
        values["train"][stage]["run"] = False
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with inside(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientat, "BLOCKS", efficientat.BLOCKS[3::9])
        trunk = model.build_trunk("EfficientAT", width=0.4)
        hidden = np.random.default_rng(0).normal(0, 0.1, (384, 8)).astype(np.float32)
        model.save_trunk(trunk, "trunk.weights.h5", pretrained_on="AudioSet", hidden=(hidden, np.zeros(8, np.float32)))
        importlib.import_module("stages.folds").main()
        for stage, fold in product(("stage1", "stage2", "predict"), ("0", "1", "2", "4")):
            importlib.import_module(f"stages.{stage}").main(fold)
        for stage in ("embed", "baseline", "ensemble", "calibrate", "thresholds", "evaluate", "bundle"):
            importlib.import_module(f"stages.{stage}").main()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run: sounds/, params.yaml, data/ with data/bundle/, metrics/. Made once; leave it as it is."""
    return made_once("tiny_bundle", make, tmp_path_factory)


@pytest.fixture(scope="session")
def without_networks(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of such a run without networks. Made once; leave it as it is."""
    return made_once("without_networks", partial(make_without_networks, project=project), tmp_path_factory)


def edit(folder: Path, change: Callable[[Any], object] = lambda values: None, *, renewed: Iterable[str] = ()) -> None:
    """Apply a function to the content of bundle.json, which then names some files as they are."""
    values = json.loads((folder / "bundle.json").read_text())
    change(values)
    values["files"] |= {name: bundles.file_facts(folder / name).model_dump() for name in renewed}
    (folder / "bundle.json").write_text(json.dumps(values))


def put(key: str, value: object) -> Callable[[Any], None]:
    """A change of bundle.json: a dotted key gets a value; of "-" it is taken out."""

    def change(values: dict[str, Any]) -> None:
        *sections, last = key.split(".")
        for section in sections:
            values = values[section]
        values[last] = value
        if value == "-":
            del values[last]

    return change


def copied(project: Path, folder: Path, **content: bytes) -> Path:
    """A copy of the run's bundle with other networks (`stage1_fold0`), whose checksums are those of bundle.json."""
    shutil.copytree(project / "data" / "bundle", folder)
    named = {f"{key.replace('_', '/')}.onnx": data for key, data in content.items()}
    for name, data in named.items():
        (folder / name).write_bytes(data)
    edit(folder, renewed=named)
    return folder


def sigmoid_bundle(project: Path, folder: Path, **changes: object) -> bundles.Bundle:
    """A ready bundle: one sigmoid network, no second stage, no projection, one pass over the whole clip."""
    import onnx

    source = project / "data" / "bundle"
    made = onnx.load(str(source / "stage1" / "fold0.onnx"))
    [softmax] = [node for node in made.graph.node if node.op_type == "Softmax"]
    softmax.op_type = "Sigmoid"
    del softmax.attribute[:]
    for name in ("bundle.json", "filters/mel.npz", "stage1/fold0.onnx"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, folder / name)
    (folder / "stage1" / "fold0.onnx").write_bytes(made.SerializeToString())

    def change(values: dict[str, Any]) -> None:
        values |= {"activation": "sigmoid", "passes": None, "folds": [0], "calibration": None, "models": ["stage1"]}
        values |= {"select": None, "scores": {}, "unknown": None, "features": {}, "files": {}} | changes
        values["preprocessing"] |= {"trim": None, "spectral": None}
        del values["networks"]["stage2"]

    edit(folder, change, renewed=("filters/mel.npz", "stage1/fold0.onnx"))
    return bundles.read(folder)
