"""What a bundle holds, that its bytes are stable, and that a damaged or hostile one is refused."""

import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import copied, edit, project, put, without_networks

from fsat.core import files, params
from fsat.core.errors import FsatError
from fsat.features import mel_bank, pca
from fsat.scoring.names import STAGES
from fsat.tagger import arrays, bundle, bundler, sessions
from fsat.tagger.tagger import Tagger
from hostile import hostile_pickle

__all__ = ["project", "without_networks"]

LABELS = ["Bark", "Gong"]
FACTS = {
    "train": {"clips": 40, "hours": 0.5, "verified": 12},
    "test": {"clips": 10, "hours": 0.1, "verified": 0},
    "test_also_in_train": {"clips": 2},
    "licenses": {"train": {"Attribution": 30, "Attribution Noncommercial": 10}, "test": {}},
}


def scores(rows: Mapping[tuple[str, str], tuple[float, ...]], *, n: int = 40) -> dict[str, Any]:
    """Rows of `metrics/models.csv`: MAP@3 of stage 1, stage 2, submission and baseline on parts of the clips."""
    models = ("stage1", "stage2", "submission", "statistics")
    return {
        "baseline": "statistics",
        "models": [
            {"model": model, "split": split, "part": part, "map3": map3, "low": map3 - 0.1, "high": map3 + 0.1, "n": n}
            | ({"cost": 0.0123} if model == "stage2" else {})
            for (split, part), values in rows.items()
            for model, map3 in zip(models, values, strict=True)
        ],
    }


CV = {("heldout", "all"): (0.81, 0.85, 0.86, 0.7)}
TEST = {("test", "all"): (0.75, 0.8, 0.8, 0.7), ("test", "public"): (0.65, 0.7, 0.7, 0.6)}
SCORES = scores(CV | TEST)


def summary(stage: str, **changes: Any) -> dict[str, Any]:
    network = {
        "backbone": "MobileNetV2",
        "width": 0.35,
        "batchnorm_momentum": 0.9,
        "n_mels": 64,
        "n_classes": len(LABELS),
        "n_components": 3 if stage == "stage2" else 0,
    }
    return {"stage": stage, "network": network, "parameters": 1234, "bounds": [40, 90]} | changes


def as_it_is(paths: dict[Path, Path], labels: list[str]) -> int:
    """Stands in for the converter: the weights as they are, and the length of an embedding."""
    for folder, path in paths.items():
        path.write_bytes((folder / "model.weights.h5").read_bytes())
    return 7


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """Arguments of `bundle.write` but for the folder; weights are a few bytes that no one opens here."""
    for stage in STAGES:
        for fold in (0, 2):
            folder = tmp_path / "models" / stage / f"fold{fold}"
            folder.mkdir(parents=True)
            (folder / "model.weights.h5").write_bytes(f"{stage} {fold}".encode())
            files.write_json(folder / "summary.json", summary(stage))
    projection = pca.Projection(np.zeros(4), np.ones(4), np.zeros(4), np.ones((3, 4)), list("abcd"))
    pca.save(tmp_path / "projection.npz", projection)
    p = params.read(Path(__file__).parents[2] / "params.yaml")
    purposes = {"mel": mel_bank.for_mel(p.mel), "spectral": mel_bank.for_spectral(44_100, p.spectral.n_fft)}
    for name, purpose in purposes.items():
        bank = np.ones((1 + purpose.n_fft // 2, purpose.n_mels), dtype=np.float32)
        mel_bank.write(tmp_path / "filters" / f"{name}.npz", bank, purpose)
    return {
        "chosen": ["stage2"],
        "networks": STAGES,
        "models": tmp_path / "models",
        "convert": as_it_is,
        "convert_trunk": lambda path, views: path.write_bytes(b"trunk") and dict.fromkeys(views, 4),
        "folds": [0, 2],
        "regressions": {
            f"{name}.{part}": np.zeros((len(LABELS), k)[: 2 if part == "weights" else 1])
            for name, k in (("statistics", 3), ("last", 4))
            for part in ("weights", "bias")
        },
        "filters": tmp_path / "filters",
        "projection": tmp_path / "projection.npz",
        "labels": LABELS,
        "preprocessing": {"audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral},
        "passes": {"seed": 2**32 - 1, "step": 1, "lengths": 3, "tries": 2},
        "calibration": {"stage1": 1.2, "submission": 0.9},
        "unknown": {"threshold": {"stage1": 0.25, "stage2": 0.3}, "neighbours": 1, "keep": 0.95},
        "references": lambda embedder, fold: np.eye(4, 7, dtype=np.float16),
        "select": "best",
        "dataset": {"name": "sounds", "synthetic": False, "fingerprint": "ab12", "facts": FACTS},
        "scores": SCORES,
    }


@pytest.fixture
def written(inputs: dict[str, Any], tmp_path: Path) -> Path:
    return bundler.write(tmp_path / "bundle", **inputs).folder


def in_another_folder(values: dict[str, Any]) -> None:
    values["files"]["../../outside"] = values["files"].pop("projection.npz")


def test_what_is_written_is_read(written: Path, tmp_path: Path) -> None:
    opened = bundle.read(written)
    manifest = opened.manifest
    assert (manifest.labels, manifest.folds, manifest.activation) == (LABELS, [0, 2], "softmax")
    assert manifest.models == ["stage2"] and manifest.features == {}
    assert manifest.passes is not None and manifest.passes.bounds == (40, 90)
    network = manifest.networks["stage2"]
    assert (network.n_components, network.n_embedding) == (3, 7)
    assert network.architecture == summary("stage2")["network"]
    assert manifest.scores == SCORES
    assert manifest.calibration is not None and manifest.calibration.temperature == {"stage1": 1.2, "submission": 0.9}
    assert manifest.unknown is not None and manifest.unknown.threshold["stage2"] == 0.3
    found = sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file())
    networks = [f"{stage}/fold{fold}.{kind}" for stage in STAGES for fold in (0, 2) for kind in ("npz", "onnx")]
    assert found == ["README.md", "bundle.json", "filters/mel.npz", "filters/spectral.npz", "projection.npz", *networks]
    assert opened.content("stage1/fold2.onnx") == b"stage1 2"
    for name in ("bundle.json", "README.md"):
        assert str(tmp_path) not in (written / name).read_text()


def test_equal_models_give_equal_bytes(inputs: dict[str, Any], written: Path, tmp_path: Path) -> None:
    """And a bundle of fewer folds leaves nothing of the larger one behind."""
    second = bundler.write(tmp_path / "again", **inputs).folder
    for path in written.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(written)).read_bytes()
    bundler.write(written, **(inputs | {"folds": [2]}))
    assert sorted(path.name for path in (written / "stage2").iterdir()) == ["fold2.npz", "fold2.onnx"]


@pytest.mark.parametrize("name", ["projection.npz", "stage2/fold0.onnx"])
def test_a_changed_or_missing_file_is_named(name: str, written: Path) -> None:
    opened, path = bundle.read(written), written / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(FsatError, match=rf"{path.name}: is not the file that bundle.json names.*Copy the whole bundle"):
        opened.content(name)
    with path.open("ab") as stream:
        stream.truncate(1 << 40)  # a sparse terabyte, which is not read
    with pytest.raises(FsatError, match=rf"{path.name}: is not the file .* \(1099511627776 bytes, expected \d+ bytes"):
        opened.content(name)
    path.unlink()
    with pytest.raises(FsatError, match=rf"{path.name}: cannot be read"):
        opened.content(name)
    os.mkfifo(path)
    with pytest.raises(FsatError, match=rf"{path.name}: cannot be read \(not a regular file\)"):
        opened.content(name)


def test_a_manifest_that_is_too_deep_too_large_or_a_pipe_is_one_line(written: Path) -> None:
    path = written / "bundle.json"
    nested = '{"format": "fsat-bundle", "scores": ' + "[" * 200_000 + "]" * 200_000 + "}"
    for text, why in ((nested, "recursion"), (" " * (1 << 25), "larger than")):
        path.write_text(text)
        with pytest.raises(FsatError, match=f"bundle.json: cannot be read as JSON .*{why}") as refused:
            bundle.read(written)
        assert "\n" not in str(refused.value)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FsatError, match="no model bundle there"):
        bundle.read(written)


def test_what_is_checked_is_what_is_used(project: Path, tmp_path: Path) -> None:
    """No file of a bundle is opened twice."""
    folder, opened = copied(project, tmp_path / "bundle"), Counter[str]()
    sys.addaudithook(lambda event, arguments: opened.update([str(arguments[0])] if event == "open" else []))
    Tagger(folder, embeddings=True)
    found = {Path(path).relative_to(folder).as_posix(): n for path, n in opened.items() if path.startswith(str(folder))}
    assert {"bundle.json", "projection.npz", "regressions.npz", "filters/mel.npz", "stage2/fold0.npz"} <= set(found)
    assert set(found.values()) == {1}


@pytest.mark.parametrize(
    ("operator", "constants", "message"),
    [
        ("Slice", {"starts": [0], "ends": [1], "axes": [0]}, r"gives probabilities of shape \(1, 3\) for 2 inputs"),
        ("ScatterElements", {"at": [[10**6]], "values": [[0.0]]}, r"fails on a batch \(.*out of"),
    ],
)
def test_a_network_that_fails_on_a_batch_is_one_line(
    operator: str, constants: dict[str, Any], message: str, project: Path, tmp_path: Path
) -> None:
    """It announces (B, 3), and gives the first row of a batch, or cannot be computed."""
    import onnx

    made = onnx.load(str(project / "data" / "bundle" / "stage1" / "fold0.onnx"))
    [last] = [node for node in made.graph.node if "probabilities" in node.output]
    last.output[0] = "all"
    made.graph.node.append(onnx.helper.make_node(operator, ["all", *constants], ["probabilities"]))
    for name, values in constants.items():
        made.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(values, np.float32 if name == "values" else np.int64), name)
        )
    for output in made.graph.output:
        output.type.tensor_type.shape.dim[0].Clear()
    folder = copied(project, tmp_path / "bundle", stage1_fold0=made.SerializeToString())
    network = sessions.open_network(bundle.read(folder), "stage1", 0, threads=1)
    with pytest.raises(FsatError, match=rf"fold0\.onnx: {message}") as refused:
        sessions.predictor(network, embeddings=False, name="fold0.onnx")({"mel": np.zeros((2, 32, 64, 1), np.float32)})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("version", 3), r"has version 3 .* reads version 4. Make it anew: `dvc repro bundle`"),
        (
            lambda values: values.update(version=3, published=[{}]),
            r"Make it anew: `dvc repro .*:audioset-tagger`",
        ),
        (put("version", 5), r"has version 5 .* reads version 4. Install the fsat"),
        (put("format", "x"), r"no fsat model bundle"),
        (lambda values: values["files"]["projection.npz"].update(bytes=10**15), r"bytes: .* less than or equal"),
        (put("more", 1), r"more: Extra inputs"),
        (put("preprocessing.spectral", "-"), r"model that reads components, but no section spectral"),
        (put("activation", "relu"), r"activation: .* 'softmax' or 'sigmoid'"),
        (put("networks.stage2", "-"), r"has no stage2, which is one of its models"),
        (put("models", ["stage2", "last"]), r"has no last, which is one of its models"),
        (put("models", []), r"models: .* at least 1"),
        (put("models", ["stage2", "stage2"]), r"names a model twice"),
        (put("unknown.threshold.last", 0.5), r"threshold for unknown clips of a model that it does not hold"),
        (put("features", {"statistics": 4}), r"read different numbers of components"),
        (put("features", {"last": 4}), r"other files than its models and folds need"),
        (put("features", {"pooled": 4}), r"features.*'statistics', 'last' or 'middle'"),
        (lambda values: values.update(activation="sigmoid", models=["stage1", "stage2"]), r"mean of several models"),
        (put("networks", {}), r"folds or passes without networks"),
        (put("folds", [0, 0]), r"names a fold twice"),
        (put("folds", [0, 1]), r"other files than its models and folds need"),
        (put("calibration.temperature.stage1", 0), r"calibration.* greater than 0"),
        (put("calibration.temperature.stage3", 1), r"calibration.*'stage1', 'stage2' or 'submission'"),
        (put("unknown", None), r"other files than its models and folds need"),
        (put("unknown.threshold.stage1", "-"), r"other files than its models and folds need"),
        (put("unknown.threshold", {}), r"unknown\.threshold: .* at least 1"),
        (put("unknown.threshold.stage1", 1e400), r"unknown\.threshold\.stage1: .* finite"),
        (put("preprocessing.mel.n_fft", "8"), r"preprocessing\.mel\.n_fft: .* integer"),
        (put("labels", ["Bark", "Bark"]), r"names a label twice"),
        (in_another_folder, r"other files than its models and folds need"),
        (put("passes.bounds", [90, 40]), r"bounds the wrong way round"),
    ],
)
def test_a_bundle_that_is_not_consistent_is_refused(change: Any, message: str, written: Path) -> None:
    edit(written, change)
    with pytest.raises(FsatError, match=message):
        bundle.read(written)
    with pytest.raises(FsatError, match=r"nowhere: no model bundle there.*dvc repro bundle"):
        bundle.read(written / "nowhere")


@pytest.mark.parametrize("name", ["bundle.json", "projection.npz"])
def test_a_pickle_in_place_of_a_file_is_refused_and_not_run(name: str, written: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (written / name).write_bytes(hostile_pickle(trap))
    if name == "projection.npz":  # with the right checksum, as whoever sends a bundle can make it
        edit(written, renewed=[name])
    with pytest.raises(FsatError, match=rf"{name}: cannot be read as"):
        pca.load(written / name, bundle.read(written).content(name))
    assert not trap.exists()


def test_folds_of_different_networks_are_refused(inputs: dict[str, Any], tmp_path: Path) -> None:
    files.write_json(tmp_path / "models/stage2/fold2/summary.json", summary("stage2", bounds=[40, 91]))
    with pytest.raises(FsatError, match=r"stage2: folds 0 and 2 differ in bounds: \[40, 90\] and \[40, 91\]"):
        bundler.write(tmp_path / "bundle", **inputs)
    assert not (tmp_path / "bundle").exists()


def test_the_card_gives_scores_licences_and_the_caveat(written: Path) -> None:
    card = (written / "README.md").read_text()
    for words in (
        "| MAP@3 [95 % interval] | test clips (40) | test clips, Public (40) | cross-validation (40 held-out clips) |",
        "| Stage 1: mel only | 0.7500 [0.650, 0.850] | 0.6500 [0.550, 0.750] | 0.8100 [0.710, 0.910] | - |",
        "| Stage 2: mel + PCA | 0.8000 [0.700, 0.900] | 0.7000 [0.600, 0.800] | 0.8500 [0.750, 0.950] | +0.0123 |",
        "| Statistics: regression, no training | 0.7000 [0.600, 0.800] |",
        "| Attribution Noncommercial | 10 |",
        "weights were chosen",
        "2 test clips may be in the training set",
        "2 folds x 3 lengths from 40 to 90 frames (equal ones count once) x 2 random spans",
    ):
        assert words in card
    assert "Private" not in card and "ynthetic" not in card and "Fused" not in card


@pytest.mark.parametrize(("cv", "test", "lost"), [(0.1, 0.1, 0), (0.82, 0.78, 2), (0.9, 0.9, 4)])
def test_the_card_says_where_a_model_does_not_beat_the_regression(
    inputs: dict[str, Any], tmp_path: Path, cv: float, test: float, lost: int
) -> None:
    found = scores({("heldout", "all"): (0.81, 0.85, 0.86, cv), ("test", "all"): (0.75, 0.8, 0.8, test)})
    card = (bundler.write(tmp_path / "bundle", **(inputs | {"scores": found})).folder / "README.md").read_text()
    assert card.count("does not beat the regression on the") == lost
    sentence = (
        f"The submission does not beat the regression on the test clips** (statistics): 0.8000 against {test:.4f}."
    )
    assert (sentence in card) == (lost == 4)


def test_the_card_of_the_demo_without_test_labels(inputs: dict[str, Any], tmp_path: Path) -> None:
    """It warns of synthetic data; last weights need no caveat."""
    found = scores({("heldout", "all"): (0.81, 0.85, 0.85, 0.7)})
    changed = inputs | {"select": "last", "dataset": inputs["dataset"] | {"synthetic": True}, "scores": found}
    card = (bundler.write(tmp_path / "bundle", **changed).folder / "README.md").read_text()
    assert "**Synthetic data.**" in card and "weights were chosen" not in card
    head = "| MAP@3 [95 % interval] | cross-validation (40 held-out clips) | cost of leaving it out, held-out clips |"
    assert f"{head}\n|---|---|---|\n| Submission | 0.8500 [0.750, 0.950] | - |\n| Stage 2: mel + PCA |" in card
    assert "0.8500 [0.750, 0.950] | +0.0123 |" in card and "test clips (" not in card


def test_the_card_names_the_models_and_what_they_read(inputs: dict[str, Any], tmp_path: Path) -> None:
    folder = bundler.write(tmp_path / "bundle", **inputs | {"chosen": ["stage2", "statistics", "last"]}).folder
    card = (folder / "README.md").read_text()
    assert "- Statistics: logistic regression on 3 principal components of spectral statistics." in card
    assert "- Last layer: logistic regression on 4 features of a pre-trained network" in card
    assert "- Submission: geometric mean of stage 2, statistics and last layer, equally weighted." in card
    assert (folder / "trunk.onnx").read_bytes() == b"trunk"
    arrays = files.read_npz(folder / "regressions.npz")
    assert sorted(arrays) == ["last.bias", "last.weights", "statistics.bias", "statistics.weights"]


def test_filters_of_another_front_end_are_refused(inputs: dict[str, Any], written: Path, tmp_path: Path) -> None:
    """By the tagger, whatever their checksum, and when a bundle is written."""
    for path in (written / "filters" / "mel.npz", tmp_path / "filters" / "mel.npz"):
        files.write_npz(path, **files.read_npz(path) | {"sample_rate": np.array(44_100)})
    edit(written, renewed=["filters/mel.npz"])
    with pytest.raises(FsatError, match=r"mel\.npz: holds mel filters for .*44100.*, not for .*22050"):
        arrays.load_filters(bundle.read(written), statistics=True)
    with pytest.raises(FsatError, match=r"mel\.npz: holds mel filters for .*44100"):
        bundler.write(tmp_path / "again", **inputs)
    assert not (tmp_path / "again").exists()


def test_a_regression_of_another_shape_is_refused_where_it_is_needed(project: Path, tmp_path: Path) -> None:
    folder = copied(project, tmp_path / "bundle")
    files.write_npz(
        folder / "regressions.npz", **{"statistics.weights": np.zeros((3, 2)), "statistics.bias": np.zeros(3)}
    )
    edit(folder, renewed=["regressions.npz"])
    with pytest.raises(FsatError, match=r"regressions\.npz: has no statistics\.weights of shape \(3, 5\)"):
        Tagger(folder)
    assert Tagger(folder, stage="stage1").stage == "stage1"


def test_labels_in_another_order_than_the_networks_outputs_are_refused(project: Path, tmp_path: Path) -> None:
    folder = copied(project, tmp_path / "bundle")
    edit(folder, lambda values: values["labels"].reverse())
    with pytest.raises(FsatError, match=r"fold0\.onnx: was trained on other labels than bundle\.json lists"):
        Tagger(folder)


def test_a_trunk_that_does_not_fit_is_one_clear_line(without_networks: Path, tmp_path: Path) -> None:
    folder = copied(without_networks, tmp_path / "bundle")
    edit(folder, put("features.middle", 7))
    with pytest.raises(FsatError, match=r"regressions\.npz: has no middle\.weights of shape \(3, 7\)"):
        Tagger(folder)
    edit(
        folder, lambda values: values.update(features=values["features"] | {"middle": 7}, models=["last", "statistics"])
    )
    with pytest.raises(FsatError, match=r"trunk\.onnx: does not fit bundle\.json: its outputs are .*'middle'"):
        Tagger(folder)
    (folder / "trunk.onnx").unlink()
    with pytest.raises(FsatError, match=r"trunk\.onnx: cannot be read"):
        Tagger(folder)
