"""The parameter files and their schema."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fsat.core import params
from fsat.core.errors import FsatError

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]
RECIPE = ROOT / "presets" / "fsdkaggle2018.yaml"


@pytest.fixture
def mapping() -> dict[str, Any]:
    """The recipe's parameters, to be spoilt."""
    mapping: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    return mapping


def put(mapping: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(mapping)
    *sections, name = key.split(".")
    inner = changed
    for section in sections:
        inner = inner[section]
    inner[name] = value
    return changed


def message(mapping: Any) -> str:
    with pytest.raises(FsatError) as caught:
        params.validate(mapping)
    return str(caught.value)


def flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in mapping.items():
        leaves.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return leaves


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_preset_is_valid_and_holds_every_key(path: Path) -> None:
    params.read(path=path)
    assert flat(yaml.safe_load(path.read_text())).keys() == params.leaves().keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_lists_are_block_lists(path: Path) -> None:
    """`dvc exp run -S` rewrites flow lists, which would show as changes in git; an empty list has no other form."""
    assert "[" not in path.read_text().replace("[]", "")


def test_every_key_is_described() -> None:
    assert [key for key, description in params.known_keys().items() if not description] == []


def test_recipe_preset_has_the_numbers_of_the_recipe() -> None:
    recipe = flat(yaml.safe_load(RECIPE.read_text()))
    expected = {
        "dataset.path": "data/fsdkaggle2018",
        "audio.sample_rate": 44100,
        "trim.top_db": 60,
        "mel.sample_rate": 22050,
        "mel.n_fft": 1764,
        "mel.hop_length": 220,
        "mel.n_mels": 64,
        "spectral.n_fft": 2048,
        "spectral.hop_length": 512,
        "spectral.n_mfcc": 40,
        "pca.n_components": 350,
        "folds.n_splits": 10,
        "folds.seed": 20180629,
        "folds.ids": list(range(10)),
        "crop.percentiles": [25, 75],
        "crop.step": 1,
        "augment.time_shift": 0.6,
        "augment.frequency_shift": 0.0,
        "augment.flip_probability": 0.5,
        "augment.erase.probability": 0.5,
        "augment.erase.area": [0.02, 0.4],
        "augment.erase.aspect": [0.3, 3.33],
        "mixup.alpha": 1.0,
        "mixup.stage2_factor": 0.5,
        "model.backbone": "MobileNetV2",
        "model.width": 1.0,
        "model.weights": "data/pretrained/imagenet.weights.h5",
        "model.batchnorm_momentum": 0.999,
        "train.batch_size": 64,
        "train.class_weight": "none",
        "train.select": "best",
        "train.validate_every": 1,
        "tta.lengths": 6,
        "tta.tries": 5,
    }
    for stage in ("stage1", "stage2"):
        expected |= {
            f"train.{stage}.cyclic.epochs": 100,
            f"train.{stage}.cyclic.base_lr": 1e-4,
            f"train.{stage}.cyclic.max_lr": 1e-3,
            f"train.{stage}.finetune_low.lr": 1e-5,
            f"train.{stage}.finetune_high.lr": 1e-4,
        }
        for phase in ("finetune_low", "finetune_high"):
            key = f"train.{stage}.{phase}"
            expected |= {f"{key}.epochs": 100, f"{key}.reduce_factor": 0.1, f"{key}.reduce_patience": 3}
            expected |= {f"{key}.min_delta": 1e-4, f"{key}.stop_patience": 10}
    assert {key: recipe[key] for key in expected} == expected


# --- reading ---------------------------------------------------------------------------------------------------------


def test_view_holds_what_was_asked_for_and_nothing_else() -> None:
    p = params.read("mel.n_fft", "augment", "seed", "train.stage1.cyclic", path=RECIPE)
    assert p.mel.n_fft == 1764
    assert p.augment.erase.area == (0.02, 0.4)
    assert p.seed == 20180629
    assert p.train.stage1.cyclic.epochs == 100
    for name in ("hop_length", "typo"):
        with pytest.raises(AttributeError, match=rf"mel\.{name} was not asked for"):
            getattr(p.mel, name)
    for section in (lambda: p.folds, lambda: p.train.batch_size, lambda: p.train.stage1.finetune_low):
        with pytest.raises(AttributeError, match="not asked for"):
            section()


def test_a_section_is_not_narrowed_by_one_of_its_leaves() -> None:
    for keys in (("mel", "mel.n_fft"), ("mel.n_fft", "mel")):
        assert params.read(*keys, path=RECIPE).mel.n_mels == 64


def test_parameters_cannot_be_changed() -> None:
    p = params.read("mel.n_fft", "augment", path=RECIPE)
    with pytest.raises(AttributeError):
        p.mel.n_fft = 1
    with pytest.raises(ValueError, match="frozen"):
        p.augment.time_shift = 0.1


def test_asking_for_an_unknown_key_is_an_error() -> None:
    with pytest.raises(FsatError, match=r"'mel\.n_mel'.*did you mean mel\.n_mels"):
        params.read("mel.n_mel", path=RECIPE)


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path: Path) -> None:
    """`dvc exp run -S train.stage1.finetune_low.lr=0.00001` writes 1e-05, a string to PyYAML."""
    text = RECIPE.read_text().replace("lr: 1.0e-5", "lr: 1e-05")
    assert yaml.safe_load(text)["train"]["stage1"]["finetune_low"]["lr"] == "1e-05"
    (tmp_path / "params.yaml").write_text(text)
    assert params.read("train", path=tmp_path / "params.yaml").train.stage1.finetune_low.lr == 1e-5


def test_integers_serve_as_floats(mapping: dict[str, Any]) -> None:
    assert params.validate(put(mapping, "mixup.alpha", 1)).mixup.alpha == 1.0


def test_reading_needs_no_keras() -> None:
    code = "import sys; import fsat.core.params; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("mel.style", "kaldi", "librosa at a mel.sample_rate of 22050 Hz: kaldi needs at least 30000"),
        ("mel.n_mels", 0, "at least 1"),
        ("mel.hop_length", -220, "at least 1"),
        ("mel.n_fft", 1764.5, "an integer"),
        ("mel.n_fft", "1764", "an integer"),
        ("mel.n_fft", None, "an integer"),
        ("train.batch_size", True, "an integer"),
        ("train.deterministic", 1, "true or false"),
        ("mixup.alpha", -0.1, "at least 0"),
        ("mixup.alpha", True, "a number"),
        ("mixup.alpha", "much", "a number"),
        ("mixup.alpha", float("nan"), "a finite number"),
        ("mixup.alpha", float("inf"), "a finite number"),
        ("augment.time_shift", 1.5, "at most 1"),
        ("augment.flip_probability", -0.5, "at least 0"),
        ("augment.erase.area", [0.4, 0.02], "the smaller one first"),
        ("augment.erase.area", [0.4], "two numbers"),
        ("augment.erase.area", [0.0, 0.4], "greater than 0"),
        ("augment.erase.aspect", [3.33, 0.3], "the smaller one first"),
        ("crop.percentiles", [75, 25], "the smaller one first"),
        ("crop.percentiles", [25, 101], "at most 100"),
        ("crop.percentiles", 25, "a list"),
        ("folds.ids", [0, 10], "from 0 to 9"),
        ("folds.ids", [-1], "from 0 to 9"),
        ("folds.ids", [1, 1], "each fold once"),
        ("folds.ids", [], "at least 1"),
        ("folds.n_splits", 1, "at least 2"),
        ("folds.seed", 2**32, "at most"),
        ("train.precision", "float16", "'float32', 'mixed_float16' or 'mixed_bfloat16'"),
        ("train.select", "first", "'best' or 'last'"),
        ("train.stage2.cyclic.max_lr", 1e-5, "at least base_lr"),
        ("dataset.bad_clips", "drop", "'fail' or 'skip'"),
        ("dataset.path", "", "not be empty"),
        ("dataset.path", 5, "text"),
        ("model.batchnorm_momentum", 1.0, "less than 1"),
        ("sources.fsdkaggle2018.md5.doc", "abc", "look like"),
        ("sources.fsdkaggle2018.base_url", "ftp://host/", "look like"),
        ("tta.lengths", 0, "at least 1"),
        ("augment", 0.5, "a section with the keys time_shift"),
    ],
)
def test_a_wrong_value_is_named(mapping: dict[str, Any], key: str, value: Any, allowed: str) -> None:
    text = message(put(mapping, key, value))
    line = text.splitlines()[1]
    assert "1 problem" in text
    assert line.strip().startswith(key)
    assert allowed in line
    assert repr(value) in line or f"{key}[" in line


def test_a_window_is_no_longer_than_a_transform(mapping: dict[str, Any]) -> None:
    kaldi = put(put(mapping, "mel.style", "kaldi"), "mel.sample_rate", 32_000)
    assert params.validate(put(kaldi, "mel.n_fft", 800)).mel.style == "kaldi"
    text = message(put(kaldi, "mel.n_fft", 799))
    assert "mel.style: must be librosa with a mel.n_fft of 799 samples: kaldi has a window of 800." in text


@pytest.mark.parametrize("key", ["mixup.alpha", "augment.erase.probability", "train.stage1.finetune_low.epochs"])
def test_zero_means_off(mapping: dict[str, Any], key: str) -> None:
    params.validate(put(mapping, key, 0))


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("mel.n_mel", "mel.n_mels"),
        ("train.stage1.finetune_low.patience", "train.stage1.finetune_low.stop_patience"),
        ("sead", "seed"),
        ("top_db", "trim.top_db"),
        ("train.alpha", "mixup.alpha"),
    ],
)
def test_an_unknown_key_gets_its_nearest(mapping: dict[str, Any], key: str, nearest: str) -> None:
    text = message(put(mapping, key, 1))
    assert f"{key}: unknown key; did you mean" in text
    assert nearest in text


def test_all_problems_are_told_at_once(mapping: dict[str, Any]) -> None:
    spoilt = put(put(put(mapping, "mel.n_mels", 0), "mixup.alhpa", 1), "train.batch_size", "many")
    del spoilt["tta"]["tries"]
    text = message(spoilt)
    assert "4 problems" in text
    for part in ("mel.n_mels: must", "mixup.alhpa: unknown", "train.batch_size: must", "tta.tries: missing"):
        assert part in text


@pytest.mark.parametrize("value", [None, 3, [], "text"])
def test_a_file_that_is_no_mapping(value: Any) -> None:
    assert "the file: must be a section with the keys seed, dataset" in message(value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [", "is not YAML"),
        ("seed: 1\nseed: 2", "key given twice: seed"),
        ("seed: !!python/object/apply:os.system ['exit']", "is not YAML"),
        ("seed: !!bool x", "YAML cannot read"),
        ("seed: 2001-99-99", "YAML cannot read"),
        ("[" * 5000, "YAML"),
        ("on: 1", "has a key that is not text: True"),
    ],
)
def test_a_file_that_is_no_yaml(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(FsatError, match=r"params\.yaml") as caught:
        params.read("seed", path=tmp_path / "params.yaml")
    assert part in str(caught.value)


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """Ten levels of ten aliases each stand for ten milliards of entries."""
    levels = "".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]\n" for level in range(1, 10))
    (tmp_path / "params.yaml").write_text(f"l0: &l0 [{', '.join('x' * 10)}]\n{levels}seed: *l9\n")
    with pytest.raises(FsatError, match="seed: must be an integer") as caught:
        params.read("seed", path=tmp_path / "params.yaml")
    assert len(str(caught.value)) < 10_000


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match=r"cannot be read \(No such file"):
        params.read("seed", path=tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(FsatError, match="not UTF-8"):
        params.read("seed", path=tmp_path / "params.yaml")


def test_pairs_are_tuples_that_dump_as_the_lists_they_were(mapping: dict[str, Any]) -> None:
    read = params.validate(mapping)
    assert read.crop.percentiles == (25, 75)
    assert read.augment.erase.area == (0.02, 0.4)
    assert read.model_dump() == mapping
    assert params.validate(read.model_dump()) == read


def test_mypy_knows_the_types_of_what_a_stage_reads(tmp_path: Path) -> None:
    lines = {
        "p.mel.n_fftt": 'error: "Mel" has no attribute "n_fftt"',
        "int(p.crop)": "error: No overload variant of",
        "draw(p.crop.percentiles, p.mel)": 'has incompatible type "Mel"; expected "Augment"',
        "draw(p.crop.percentiles, p.augment)": "",
    }
    header = [
        "from fsat.core import params",
        "def draw(percentiles: tuple[float, float], augment: params.Augment) -> None: ...",
        'p = params.read("mel", "crop", "augment")',
    ]
    script = tmp_path / "script.py"
    script.write_text("\n".join([*header, *lines]) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(script)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    for number, expected in enumerate(lines.values(), start=len(header) + 1):
        said = [line for line in result.stdout.splitlines() if f"{script.name}:{number}:" in line]
        assert (expected in said[0]) if expected else not said, result.stdout + result.stderr


def test_a_stage_without_any_epoch_is_refused(mapping: dict[str, Any]) -> None:
    for phase in mapping["train"]["stage2"].values():
        phase["epochs"] = 0
    with pytest.raises(FsatError, match=r"train\.stage2\.finetune_high: must have epochs"):
        params.validate(mapping)
