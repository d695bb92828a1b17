"""`fsat preset`: what each preset holds, what it writes, and what it refuses to overwrite."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from typer.testing import CliRunner

import project
from fsat import presets
from fsat.cli import app
from fsat.core import params
from fsat.core.errors import FsatError

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "presets"
NAMES = sorted(presets.listed(FOLDER))


def complete(name: str, *values: str) -> str:
    return presets.complete(name, values, folder=FOLDER)


def flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in mapping.items():
        leaves.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return leaves


def values_of(text: str) -> dict[str, Any]:
    return flat(yaml.safe_load(text))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for the presets; the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").symlink_to(FOLDER)
    return tmp_path


# What they hold ------------------------------------------------------------------------------------------------------


def test_the_committed_parameters_are_those_of_the_demo() -> None:
    assert (ROOT / "params.yaml").read_text() == complete("demo"), "run `fsat preset demo`"


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_becomes_a_file_with_every_key_its_values_and_reasons(name: str) -> None:
    own, whole = (FOLDER / f"{name}.yaml").read_text(), complete(name)
    assert values_of(whole).keys() == params.leaves().keys()
    assert values_of(whole) == values_of(complete("demo")) | values_of(own)
    reasons = re.findall(r"^ +\w+:[^#]*# (.*)$", own, flags=re.MULTILINE)
    assert all(reason in whole for reason in reasons)
    assert whole.splitlines()[1] == f"#   fsat preset {name}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "demo"])
def test_a_preset_holds_only_what_differs_each_with_a_reason(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    base = values_of(complete("demo"))
    assert [key for key, value in values_of(text).items() if base[key] == value] == []
    assert [line for line in text.splitlines() if re.fullmatch(r" +\w+: [^#]+", line)] == []


def test_dvc_changes_one_line_for_one_parameter(tmp_path: Path) -> None:
    """`dvc exp run -S` reads and writes the whole file, which must leave all other lines as they are."""
    for name in NAMES:
        before, path = complete(name, "dataset.exclude_licenses=[CC0, '0123']"), tmp_path / "params.yaml"
        path.write_text(before)
        apply_overrides(path, ["mixup.alpha=0.4"])
        pairs = zip(before.splitlines(), path.read_text().splitlines(), strict=True)
        assert [new.split("#")[0].strip() for old, new in pairs if old != new] == ["alpha: 0.4"]
        apply_overrides(path, [f"mixup.alpha={values_of(before)['mixup.alpha']}"])
        assert path.read_text() == before


def test_the_recipe_has_every_number_of_its_page() -> None:
    """The numbers of docs/RECIPE.md, sections 1 to 6, and those that leave out what is not of the recipe."""
    expected = flat(
        yaml.safe_load("""
            dataset: {path: data/fsdkaggle2018}
            audio: {sample_rate: 44100}
            trim: {top_db: 60}
            mel: {sample_rate: 22050, n_fft: 1764, hop_length: 220, n_mels: 64}
            spectral: {n_fft: 2048, hop_length: 512, n_mfcc: 40}
            pca: {n_components: 350}
            folds: {n_splits: 10, seed: 20180629, ids: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
            crop: {percentiles: [25, 75], step: 1}
            augment:
              {time_shift: 0.6, frequency_shift: 0.0, flip_probability: 0.5,
               erase: {probability: 0.5, area: [0.02, 0.4], aspect: [0.3, 3.33]}}
            mixup: {alpha: 1.0, stage2_factor: 0.5}
            model:
              {backbone: MobileNetV2, width: 1.0, weights: data/pretrained/imagenet.weights.h5, head: [1536, 384],
               batchnorm_momentum: 0.999, freeze_batchnorm: false}
            train:
              batch_size: 64
              class_weight: none
              select: best
              validate_every: 1
              validation_lengths: 6
              plateau: {reduce_factor: 0.1, reduce_patience: 3, min_delta: 0.0001, stop_patience: 10}
              stage1: &stage
                run: true
                frozen: {epochs: 0}
                cyclic: {epochs: 100, half_cycle: 1, base_lr: 0.0001, max_lr: 0.001}
                finetune_low: {epochs: 100, lr: 0.00001}
                finetune_high: {epochs: 100, lr: 0.0001}
              stage2: *stage
            tta: {lengths: 6, tries: 5}
            embed: {views: []}
            ensemble: {models: [stage2], choose: all}
        """)
    )
    recipe = values_of(complete("fsdkaggle2018"))
    assert {key: recipe[key] for key in expected} == expected


# What is given -------------------------------------------------------------------------------------------------------


def test_given_values_stand_in_the_file_with_the_meaning_but_not_the_reason_of_the_preset() -> None:
    text = complete("audioset", "dataset.path=my sounds", "folds.ids=[0,1,2]", "model.head=[]", "mixup.alpha=1e-3")
    found = values_of(text)
    assert (found["dataset.path"], found["folds.ids"], found["model.head"]) == ("my sounds", [0, 1, 2], [])
    assert "  alpha: 0.001                # of Beta(alpha, alpha) in stage 1; 0: no mixup\n" in text
    line = "#   fsat preset audioset 'dataset.path=my sounds' 'folds.ids=[0,1,2]' 'model.head=[]' mixup.alpha=1e-3"
    assert text.splitlines()[1] == line
    found = values_of(complete("demo", "train.plateau={min_delta: 0.1, stop_patience: 2}"))
    assert found["train.plateau.min_delta"] == 0.1


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("audiosett", [], "no preset audiosett. Did you mean audioset?"),
        ("demo", ["mixup.alpha"], "'mixup.alpha': values are written as key=value"),
        ("demo", ["dataset.path=a\nb"], "values are written as key=value"),
        ("demo", ["folds.ids=["], "folds.ids: is not YAML"),
        ("demo", ["mixup.alhpa=1", "mel.n_mels=0"], "2 problems\n  mel.n_mels: must be at least 1. Got 0 instead"),
        ("demo", ["mixup.alhpa=1", "mel.n_mels=0"], "mixup.alhpa: unknown key; did you mean mixup.alpha?"),
        ("demo", ["pca=5"], "pca: must be a section with the keys n_components"),
        ("demo", ["seed.x=5"], "seed: must be an integer. Got {'x': 5} instead"),
        ("demo", ["folds.ids=!!set {0}"], "folds.ids: must be a list"),
    ],
)
def test_what_the_schema_refuses_is_refused_before_anything_is_written(
    name: str, values: list[str], message: str, folder: Path
) -> None:
    with pytest.raises(FsatError, match=re.escape(message)):
        presets.write(name, values)
    assert [path.name for path in folder.iterdir()] == ["presets"]


# What is overwritten -------------------------------------------------------------------------------------------------


def test_what_a_preset_wrote_is_no_edit_and_anything_else_is(folder: Path) -> None:
    path = folder / "params.yaml"
    presets.write("small", ["dataset.path=it's 100 % mine", "folds.ids=[0]"])
    presets.write("demo")
    for edited in (path.read_text().replace("alpha: 0.2", "alpha: 0.4"), "", "#   fsat preset demo 'mixup\n", "\0"):
        path.write_text(edited)
        with pytest.raises(FsatError, match="has edits that are not committed"):
            presets.write("small")
        assert path.read_text() == edited
    presets.write("small", force=True)
    assert path.read_text() == complete("small")
    path.unlink()
    path.mkdir()
    with pytest.raises(FsatError, match="cannot be written"):
        presets.write("demo", force=True)


def test_what_git_holds_can_be_overwritten(folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_text(complete("demo").replace("alpha: 0.2", "alpha: 0.4"))
    project.call(folder, "git", "init", "--quiet")
    project.call(folder, "git", "add", "params.yaml")
    with pytest.raises(FsatError, match="not committed"):
        presets.write("small")
    project.commit(folder, "edit")
    presets.write("small")
    path.write_text("")
    (folder / ".gitignore").write_text("params.yaml\n")
    with pytest.raises(FsatError, match="not committed"):
        presets.write("demo")


def test_the_command_lists_the_presets_and_writes_one(folder: Path) -> None:
    listed = CliRunner().invoke(app, ["preset"]).output.splitlines()
    assert [line.split()[0] for line in listed] == NAMES
    assert any(line.startswith("demo  ") and "The demo:" in line for line in listed)
    done = CliRunner().invoke(app, ["preset", "audioset", "seed=3"])
    assert done.exit_code == 0 and "Next: put the clips into sounds, a folder that is not there yet" in done.output
    assert params.read(folder / "params.yaml").seed == 3
    assert params.read(folder / "params.yaml").model.backbone == "EfficientAT"
    Path("sounds").mkdir()
    for arguments in (["audioset"], ["demo"]):
        assert "Next: dvc repro\n" in CliRunner().invoke(app, ["preset", *arguments]).output
