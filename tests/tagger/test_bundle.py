"""What a bundle holds, that its bytes are stable, and that a damaged or hostile one is refused."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import project  # noqa: F401  # a fixture

from fsat.core import files, params
from fsat.core.errors import FsatError
from fsat.features import mel_bank, pca
from fsat.scoring.names import STAGES
from fsat.tagger import arrays, bundle, bundler
from hostile import hostile_pickle

LABELS = ["Bark", "Gong"]
FACTS = {
    "train": {"clips": 40, "hours": 0.5, "verified": 12},
    "test": {"clips": 10, "hours": 0.1, "verified": 0},
    "test_also_in_train": {"clips": 2},
    "licenses": {"train": {"Attribution": 30, "Attribution Noncommercial": 10}, "test": {}},
}


def scores(rows: Mapping[tuple[str, str], tuple[float, ...]], *, n: int = 40) -> dict[str, Any]:
    """Rows of `metrics/models.csv`: MAP@3 of stage 1, stage 2, submission and regression on parts of the clips."""
    models = ("stage1", "stage2", "submission", "regression")
    return {
        "models": [
            {"model": model, "split": split, "part": part, "map3": map3, "low": map3 - 0.1, "high": map3 + 0.1, "n": n}
            for (split, part), values in rows.items()
            for model, map3 in zip(models, values, strict=True)
        ]
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


def as_it_is(folder: Path, path: Path, labels: list[str]) -> int:
    """Stands in for the converter: the weights as they are, and the length of an embedding."""
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
    for fold in (0, 2):
        known = {stage: np.eye(4, 7, dtype=np.float16) for stage in STAGES}
        files.write_npz(tmp_path / "predictions" / f"fold{fold}" / "reference.npz", **known)
    p = params.read(Path(__file__).parents[2] / "params.yaml")
    purposes = {"mel": mel_bank.for_mel(p.mel), "spectral": mel_bank.for_spectral(44_100, p.spectral.n_fft)}
    for name, purpose in purposes.items():
        bank = np.ones((1 + purpose.n_fft // 2, purpose.n_mels), dtype=np.float32)
        mel_bank.write(tmp_path / "filters" / f"{name}.npz", bank, purpose)
    return {
        "models": tmp_path / "models",
        "convert": as_it_is,
        "convert_trunk": lambda path: path.write_bytes(b"trunk") and 4,
        "folds": [0, 2],
        "baseline": tmp_path / "baseline.npz",
        "baseline_weight": 0.0,
        "filters": tmp_path / "filters",
        "projection": tmp_path / "projection.npz",
        "labels": LABELS,
        "preprocessing": {"audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral},
        "passes": {"seed": 2**32 - 1, "step": 1, "lengths": 3, "tries": 2},
        "calibration": {"stage1": 1.2, "stage2": 0.9},
        "unknown": {"threshold": {"stage1": 0.25, "stage2": 0.3}, "neighbours": 1, "keep": 0.95},
        "references": tmp_path / "predictions",
        "select": "best",
        "dataset": {"name": "sounds", "synthetic": False, "fingerprint": "ab12", "facts": FACTS},
        "scores": SCORES,
    }


@pytest.fixture
def written(inputs: dict[str, Any], tmp_path: Path) -> Path:
    return bundler.write(tmp_path / "bundle", **inputs).folder


def edit(folder: Path, change: Any) -> None:
    """Apply a function to the content of bundle.json."""
    values = json.loads((folder / "bundle.json").read_text())
    change(values)
    (folder / "bundle.json").write_text(json.dumps(values))


def test_what_is_written_is_read(written: Path) -> None:
    manifest = bundle.read(written).manifest
    assert manifest.labels == LABELS
    assert manifest.folds == [0, 2]
    assert manifest.passes is not None and manifest.passes.bounds == (40, 90)
    assert manifest.networks["stage2"].n_components == 3
    assert manifest.networks["stage2"].n_embedding == 7
    assert manifest.networks["stage2"].architecture == summary("stage2")["network"]
    assert manifest.activation == "softmax"
    assert manifest.scores == SCORES
    found = sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file())
    assert manifest.calibration is not None and manifest.calibration.temperature == {"stage1": 1.2, "stage2": 0.9}
    assert manifest.unknown is not None and manifest.unknown.threshold["stage2"] == 0.3
    networks = [
        f"{stage}/fold{fold}.{kind}" for stage in ("stage1", "stage2") for fold in (0, 2) for kind in ("npz", "onnx")
    ]
    assert found == ["README.md", "bundle.json", "filters/mel.npz", "filters/spectral.npz", "projection.npz", *networks]
    assert bundle.read(written).content("stage1/fold2.onnx") == b"stage1 2"


def test_equal_models_give_equal_bytes(inputs: dict[str, Any], written: Path, tmp_path: Path) -> None:
    second = bundler.write(tmp_path / "again", **inputs).folder
    for path in written.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(written)).read_bytes()


def test_a_folds_own_folder_gives_no_file_twice(inputs: dict[str, Any], written: Path) -> None:
    """A bundle of fewer folds leaves nothing of the larger one behind."""
    bundler.write(written, **(inputs | {"folds": [2]}))
    assert sorted(path.name for path in (written / "stage2").iterdir()) == ["fold2.npz", "fold2.onnx"]


@pytest.mark.parametrize("name", ["projection.npz", "stage2/fold0.onnx"])
def test_a_changed_or_missing_file_is_named(name: str, written: Path) -> None:
    opened = bundle.read(written)
    path = written / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(FsatError, match=rf"{path.name}: is not the file that bundle.json names.*Copy the whole bundle"):
        opened.checked_path(name)
    path.unlink()
    with pytest.raises(FsatError, match=rf"{path.name}: cannot be read"):
        opened.checked_path(name)


def repeat_label(values: dict[str, Any]) -> None:
    values["labels"][1] = values["labels"][0]


def leave_folder(values: dict[str, Any]) -> None:
    values["files"]["../../outside"] = values["files"].pop("projection.npz")


def turn_bounds(values: dict[str, Any]) -> None:
    values["passes"]["bounds"] = [90, 40]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda values: values.update(version=1),
            r"has version 1 .* reads version 3. Make it anew: `dvc repro bundle`",
        ),
        (
            lambda values: values.update(version=2),
            r"has version 2 .* reads version 3. Make it anew: `dvc repro bundle`",
        ),
        (lambda values: values.update(version=2, published=[{}]), r"Make it anew: `dvc repro .*:audioset-tagger`"),
        (lambda values: values.update(version=4), r"has version 4 .* reads version 3. Install the fsat"),
        (lambda values: values.update(format="x"), r"no fsat model bundle"),
        (lambda values: values.update(more=1), r"more: Extra inputs"),
        (lambda values: values.pop("scores"), r"scores: Field required"),
        (lambda values: values["preprocessing"].pop("spectral"), r"reads components, but no section spectral"),
        (lambda values: values.update(activation="relu"), r"activation: .* 'softmax' or 'sigmoid'"),
        (
            lambda values: values["networks"].pop("stage2"),
            r"threshold for unknown clips of a stage that it does not hold",
        ),
        (lambda values: values["networks"].clear(), r"networks: .* at least 1"),
        (lambda values: values.update(folds=[0, 0]), r"names a fold twice"),
        (lambda values: values.update(calibration={"temperature": {"stage1": 0}}), r"calibration.* greater than 0"),
        (lambda values: values["calibration"]["temperature"].update(stage3=1), r"calibration.*'stage1' or 'stage2'"),
        (lambda values: values.update(unknown=None), r"other files than its networks and folds need"),
        (lambda values: values["unknown"]["threshold"].pop("stage1"), r"other files than its networks and folds need"),
        (lambda values: values["unknown"]["threshold"].clear(), r"unknown\.threshold: .* at least 1"),
        (lambda values: values["unknown"]["threshold"].update(stage1="0.2"), r"unknown\.threshold\.stage1: .* number"),
        (
            lambda values: values["unknown"]["threshold"].update(stage1=-0.1),
            r"unknown\.threshold\.stage1: .* equal to 0",
        ),
        (lambda values: values["unknown"]["threshold"].update(stage1=1e400), r"unknown\.threshold\.stage1: .* finite"),
        (lambda values: values["unknown"].update(neighbours=0), r"unknown\.neighbours: .* greater than or equal to 1"),
        (lambda values: values["unknown"].update(keep=1.5), r"unknown\.keep: .* less than or equal to 1"),
        (lambda values: values["unknown"].update(script="x"), r"unknown\.script: Extra inputs"),
        (lambda values: values["preprocessing"]["mel"].update(n_fft="8"), r"preprocessing\.mel\.n_fft: .* integer"),
        (lambda values: values.update(folds=[0, 1]), r"other files than its networks and folds need"),
        (repeat_label, r"names a label twice"),
        (leave_folder, r"other files than its networks and folds need"),
        (turn_bounds, r"bounds the wrong way round"),
    ],
)
def test_a_bundle_that_is_not_consistent_is_refused(change: Any, message: str, written: Path) -> None:
    edit(written, change)
    with pytest.raises(FsatError, match=message):
        bundle.read(written)


def test_no_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match=r"nowhere: no model bundle there.*dvc repro bundle"):
        bundle.read(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["bundle.json", "projection.npz"])
def test_a_pickle_in_place_of_a_file_is_refused_and_not_run(name: str, written: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (written / name).write_bytes(hostile_pickle(trap))
    if name == "projection.npz":  # with the right checksum, as whoever sends a bundle can make it
        facts = bundle.file_facts(written / name).model_dump()
        edit(written, lambda values: values["files"].update({name: facts}))
    with pytest.raises(FsatError, match=rf"{name}: cannot be read as"):
        pca.load(bundle.read(written).checked_path(name))
    assert not trap.exists()


def test_folds_of_different_networks_are_refused(inputs: dict[str, Any], tmp_path: Path) -> None:
    files.write_json(tmp_path / "models/stage2/fold2/summary.json", summary("stage2", bounds=[40, 91]))
    with pytest.raises(FsatError, match=r"stage2: folds 0 and 2 differ in bounds: \[40, 90\] and \[40, 91\]"):
        bundler.write(tmp_path / "bundle", **inputs)
    assert not (tmp_path / "bundle").exists()


def test_a_file_that_grew_is_refused_without_reading_all_of_it(written: Path) -> None:
    opened = bundle.read(written)
    with (written / "stage1/fold0.onnx").open("ab") as stream:
        stream.truncate(1 << 40)  # a sparse terabyte
    with pytest.raises(FsatError, match=r"fold0\.onnx: is not the file .* \(larger, expected 8 bytes"):
        opened.content("stage1/fold0.onnx")


def test_the_card_gives_scores_licences_and_the_caveat(written: Path) -> None:
    card = (written / "README.md").read_text()
    assert "| stage 1: mel | stage 2: mel + PCA | submission | regression |" in card
    assert "| test clips (40) | 0.7500 [0.650, 0.850] | 0.8000 [0.700, 0.900] | 0.8000 [0.700, 0.900] | 0.7000 " in card
    assert "| test clips, Public (40) | 0.6500 [0.550, 0.750] | 0.7000 [0.600, 0.800] | 0.7000" in card
    assert "Private" not in card
    assert "| cross-validation (40 held-out clips) | 0.8100 [0.710, 0.910] | 0.8500 [0.750, 0.950] | 0.8600" in card
    assert "| Attribution Noncommercial | 10 |" in card
    assert "weights were chosen" in card
    assert "2 test clips may be in the training set" in card
    assert "ynthetic" not in card
    assert "2 folds x 3 lengths from 40 to 90 frames (equal ones count once) x 2 random spans" in card


@pytest.mark.parametrize(("cv", "test", "lost"), [(0.1, 0.1, 0), (0.82, 0.78, 2), (0.9, 0.9, 4)])
def test_the_card_says_where_a_model_does_not_beat_the_regression(
    inputs: dict[str, Any], tmp_path: Path, cv: float, test: float, lost: int
) -> None:
    found = scores({("heldout", "all"): (0.81, 0.85, 0.86, cv), ("test", "all"): (0.75, 0.8, 0.8, test)})
    card = (bundler.write(tmp_path / "bundle", **(inputs | {"scores": found})).folder / "README.md").read_text()
    assert card.count("does not beat the regression on the") == lost
    sentence = f"**The submission does not beat the regression on the test clips**: 0.8000 against {test:.4f}."
    assert (sentence in card) == (lost == 4)


def test_the_card_of_the_demo_warns_and_last_weights_need_no_caveat(inputs: dict[str, Any], tmp_path: Path) -> None:
    changed = inputs | {"select": "last", "dataset": inputs["dataset"] | {"synthetic": True}}
    card = (bundler.write(tmp_path / "bundle", **changed).folder / "README.md").read_text()
    assert "**Synthetic data.**" in card
    assert "weights were chosen" not in card


def test_the_card_without_late_fusion_and_without_test_labels(inputs: dict[str, Any], tmp_path: Path) -> None:
    found = scores({("heldout", "all"): (0.81, 0.85, 0.85, 0.7)})
    card = (bundler.write(tmp_path / "bundle", **(inputs | {"scores": found})).folder / "README.md").read_text()
    assert "| stage 1: mel | submission: stage 2, not fused | regression |" in card
    assert "| cross-validation (40 held-out clips) | 0.8100 [0.710, 0.910] | 0.8500 [0.750, 0.950] | 0.7000" in card
    assert "| test clips" not in card


def test_the_card_says_what_stage_2_is_fused_with(inputs: dict[str, Any], tmp_path: Path) -> None:
    for n_features, features in ((3, "components"), (3 + 4, "embeddings and components")):
        weights = np.zeros((len(LABELS), n_features))
        files.write_npz(tmp_path / "baseline.npz", weights=weights, bias=np.zeros(len(LABELS)))
        folder = bundler.write(tmp_path / "bundle", **(inputs | {"baseline_weight": 1.25})).folder
        card = (folder / "README.md").read_text()
        assert f"Fused with a logistic regression on {features}: its log p counts 1.25 times the networks'." in card
        assert (folder / "trunk.onnx").is_file() == (n_features > 3)
    assert "Fused" not in (bundler.write(tmp_path / "bundle", **inputs).folder / "README.md").read_text()


def test_filters_of_another_front_end_are_refused(inputs: dict[str, Any], written: Path, tmp_path: Path) -> None:
    """By the tagger, whatever their checksum, and when a bundle is written."""
    for path in (written / "filters" / "mel.npz", tmp_path / "filters" / "mel.npz"):
        files.write_npz(path, **files.read_npz(path) | {"sample_rate": np.array(44_100)})
    facts = bundle.file_facts(written / "filters" / "mel.npz").model_dump()
    edit(written, lambda values: values["files"].update({"filters/mel.npz": facts}))
    with pytest.raises(FsatError, match=r"mel\.npz: holds mel filters for .*44100.*, not for .*22050"):
        arrays.load_filters(bundle.read(written), statistics=True)
    with pytest.raises(FsatError, match=r"mel\.npz: holds mel filters for .*44100"):
        bundler.write(tmp_path / "again", **inputs)
    assert not (tmp_path / "again").exists()


def test_no_machine_path_gets_into_a_bundle(written: Path, tmp_path: Path) -> None:
    for name in ("bundle.json", "README.md"):
        assert str(tmp_path) not in (written / name).read_text()


def test_late_fusion_travels_and_is_checked(project: Path, tmp_path: Path) -> None:  # noqa: F811
    from fsat.tagger.tagger import Tagger

    folder = tmp_path / "bundle"
    shutil.copytree(project / "data" / "bundle", folder)
    assert (folder / "baseline.npz").is_file()
    values = json.loads((folder / "bundle.json").read_text())
    files.write_npz(folder / "baseline.npz", weights=np.zeros((3, 2)), bias=np.zeros(3))
    values["files"]["baseline.npz"] = bundle.file_facts(folder / "baseline.npz").model_dump()
    (folder / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(FsatError, match=r"baseline\.npz: has no weights of shape"):
        Tagger(folder)
    assert Tagger(folder, stage="stage1").stage == "stage1"
    del values["networks"]["stage2"]
    (folder / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(FsatError, match="fuses stage 2 with a regression"):
        bundle.read(folder)


def test_labels_in_another_order_than_the_networks_outputs_are_refused(project: Path, tmp_path: Path) -> None:  # noqa: F811
    from fsat.tagger.tagger import Tagger

    folder = tmp_path / "bundle"
    shutil.copytree(project / "data" / "bundle", folder)
    edit(folder, lambda values: values["labels"].reverse())
    with pytest.raises(FsatError, match=r"fold0\.onnx: was trained on other labels than bundle\.json lists"):
        Tagger(folder)


@pytest.fixture
def with_trunk(project: Path, tmp_path: Path) -> Path:  # noqa: F811
    """The tiny run's bundle, fused by weight 1 with a regression on embeddings alone."""
    from fsat.networks import model, onnx_export

    folder = tmp_path / "bundle"
    shutil.copytree(project / "data" / "bundle", folder)
    weights = np.zeros((3, 384 + 5))
    weights[:, :384] = np.random.default_rng(0).normal(0, 0.2, (3, 384))
    files.write_npz(folder / "baseline.npz", weights=weights, bias=np.array([0.5, 0.0, -0.5]))
    trunk = model.build_trunk("EfficientAT", width=0.4)
    model.save_trunk(trunk, tmp_path / "trunk.weights.h5")
    made = onnx_export.convert_trunk(tmp_path / "trunk.weights.h5", "EfficientAT", 0.4, 32, folder / "trunk.onnx")
    assert made == 384

    def fuse(values: dict[str, Any]) -> None:
        values["fusion"] = {"baseline_weight": 1.0, "n_embedding": 384}
        values["calibration"] = None
        for name in ("baseline.npz", "trunk.onnx"):
            values["files"][name] = bundle.file_facts(folder / name).model_dump()

    edit(folder, fuse)
    return folder


def test_a_regression_on_embeddings_sees_the_whole_clip(with_trunk: Path, project: Path, tmp_path: Path) -> None:  # noqa: F811
    from fsat.inputs import frames
    from fsat.networks import embedding, model
    from fsat.scoring import ensemble, fusion
    from fsat.tagger.tagger import Tagger

    plain = tmp_path / "plain"
    shutil.copytree(with_trunk, plain)

    def unfuse(values: dict[str, Any]) -> None:
        values["fusion"] = None
        del values["files"]["baseline.npz"], values["files"]["trunk.onnx"]

    edit(plain, unfuse)
    store = frames.open_frames(project / "data" / "mel" / "test", limits=(-80.0, 0.0))
    trunk = model.build_trunk("EfficientAT", width=0.4)
    model.load_trunk_weights(trunk, tmp_path / "trunk.weights.h5")
    embeddings = embedding.embed(trunk, store, name="")
    arrays = files.read_npz(with_trunk / "baseline.npz")
    regression = ensemble.linear(embeddings, arrays["weights"][:, :384], arrays["bias"])
    paths = [project / "sounds" / name for name in store.fnames]
    networks, fused = ([tagger(path) for path in paths] for tagger in (Tagger(plain), Tagger(with_trunk)))
    expected = fusion.fuse_probabilities(np.stack([clip.probabilities for clip in networks]), regression, weight=1.0)
    np.testing.assert_allclose(np.stack([clip.probabilities for clip in fused]), expected, atol=1e-5)
    assert np.abs(expected - np.stack([clip.probabilities for clip in networks])).max() > 0.01


def test_a_trunk_of_another_length_or_without_finite_outputs_is_refused(with_trunk: Path, tmp_path: Path) -> None:
    from fsat.tagger.tagger import Tagger

    values = json.loads((with_trunk / "bundle.json").read_text())
    values["fusion"]["n_embedding"] = 383
    shutil.copytree(with_trunk, tmp_path / "other")
    (tmp_path / "other" / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(FsatError, match=r"baseline\.npz: has no weights of shape"):
        Tagger(tmp_path / "other")
    (with_trunk / "trunk.onnx").unlink()
    with pytest.raises(FsatError, match=r"trunk\.onnx: cannot be read"):
        Tagger(with_trunk)
