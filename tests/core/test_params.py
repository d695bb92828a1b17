"""The parameter files and their schema."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from fsat.core import params
from fsat.core.errors import FsatError

ROOT = Path(__file__).parents[2]
FILE = ROOT / "params.yaml"


@pytest.fixture
def mapping() -> dict[str, Any]:
    """The demo's parameters, to be spoilt."""
    mapping: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return mapping


def put(mapping: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(mapping)
    *sections, name = key.split(".")
    inner = changed
    for section in sections:
        inner = inner[section]
    inner[name] = value
    return changed


def judged(mapping: dict[str, Any], said: str) -> None:
    """One problem is told, or the mapping is right where nothing is to be said."""
    if said:
        assert said in message(mapping) and "1 problem" in message(mapping)
    else:
        params.validate(mapping)


def message(mapping: Any) -> str:
    with pytest.raises(FsatError) as caught:
        params.validate(mapping)
    return str(caught.value)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_every_key_is_described() -> None:
    assert [key for key, description in params.known_keys().items() if not description] == []


def test_parameters_are_read_with_their_types_and_cannot_be_changed(mapping: dict[str, Any]) -> None:
    p = params.read(FILE)
    assert (p.mel.n_fft, p.augment.erase.area, p.train.stage1.cyclic.max_lr) == (1764, (0.02, 0.4), 3e-3)
    assert p.model_dump() == mapping
    assert params.validate(p.model_dump()) == p
    with pytest.raises(ValueError, match="frozen"):
        p.mel.n_fft = 1


def test_a_file_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    """YAML 1.2: PyYAML takes 010 for 8, and the 1e-05 that `dvc exp run -S` writes for text."""
    text = FILE.read_text().replace("n_components: 60", "n_components: 010").replace("lr: 1.0e-4", "lr: 1e-05")
    text = text.replace("path: data/demo", "path: on")
    (tmp_path / "params.yaml").write_text(text)
    p = params.read(tmp_path / "params.yaml")
    assert (p.pca.n_components, p.train.stage1.finetune_low.lr, p.dataset.path) == (10, 1e-5, "on")
    read = parse_yaml(text, "params.yaml")
    assert (read["pca"]["n_components"], read["dataset"]["path"]) == (10, "on")


def test_reading_needs_no_keras_and_tagging_no_parser() -> None:
    code = "import sys; import fsat.tagger.tagger; sys.exit(bool({'keras', 'ruamel', 'yaml'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("mel.style", "kaldi", "librosa at a mel.sample_rate of 22050 Hz: kaldi needs at least 30000"),
        ("mel.n_mels", 0, "at least 1"),
        ("mel.n_fft", None, "an integer"),
        ("train.batch_size", True, "an integer"),
        ("train.batch_size", 1e2, "an integer"),
        ("train.deterministic", 1, "true or false"),
        ("mixup.alpha", -0.1, "at least 0"),
        ("mixup.alpha", "0.4", "a number"),
        ("mixup.alpha", float("nan"), "a finite number"),
        ("augment.time_shift", 1.5, "at most 1"),
        ("augment.erase.area", [0.4], "two numbers"),
        ("augment.erase.area", [0.0, 0.4], "greater than 0"),
        ("crop.percentiles", [75, 25], "the smaller one first"),
        ("crop.percentiles", [25, 101], "at most 100"),
        ("crop.percentiles", 25, "a list"),
        ("folds.ids", [0, 3], "from 0 to 2"),
        ("folds.ids", [1, 1], "each fold once"),
        ("folds.ids", [], "at least 1"),
        ("folds.seed", 2**32, "at most"),
        ("train.precision", "float16", "'float32', 'mixed_float16' or 'mixed_bfloat16'"),
        ("train.stage2.cyclic.max_lr", 1e-5, "at least base_lr"),
        ("train.stage1.frozen.share", 0.5, "must be 0 where epochs is 0"),
        ("ensemble.models", ["stage2", "stage2"], "each once"),
        ("ensemble.models", ["regression"], "'stage1', 'stage2', 'statistics', 'last' or 'middle'"),
        ("dataset.path", "", "not be empty"),
        ("dataset.path", 5, "text"),
        ("model.batchnorm_momentum", 1.0, "less than 1"),
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


@pytest.mark.parametrize(
    ("key", "nearest"), [("mel.n_mel", "mel.n_mels"), ("sead", "seed"), ("train.alpha", "mixup.alpha")]
)
def test_an_unknown_key_gets_its_nearest(mapping: dict[str, Any], key: str, nearest: str) -> None:
    assert f"{key}: unknown key; did you mean {nearest}?" in message(put(mapping, key, 1))


def test_all_problems_are_told_at_once(mapping: dict[str, Any]) -> None:
    spoilt = put(put(put(mapping, "mel.n_mels", 0), "mixup.alhpa", 1), "train.batch_size", "many")
    del spoilt["tta"]["tries"]
    text = message(spoilt)
    told = ("4 problems", "mel.n_mels: must", "mixup.alhpa: unknown", "train.batch_size: must", "tta.tries: missing")
    assert [part for part in told if part not in text] == []


@pytest.mark.parametrize("value", [None, 3, [], "text"])
def test_a_file_that_is_no_mapping(value: Any) -> None:
    assert "the file: must be a section with the keys seed, dataset" in message(value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [", "is not YAML"),
        ("seed: 1\nseed: 2", 'is not YAML: while constructing a mapping found duplicate key "seed"'),
        ("seed: !!python/object/apply:os.system ['exit']", "is not YAML"),
        ("seed: 2001-99-99", "YAML cannot read"),
        ("seed: " + "9" * 5000, "YAML cannot read"),
        ("seed: 0x" + "f" * 4000, "at most 4294967295. Got a very large int"),
        ("[" * 20_000 + "]" * 12_768, "is not YAML"),
        ("[" * 100_000, "at most 32768"),  # would overflow the stack of the C parser
        ("1: 1", "the file: has a key that is not text: 1"),
        ("mel: {? [a, b] : 1}", "mel: has a key that is not text: ('a', 'b')"),
        ("? {a: 1}\n: 1", "unhashable key"),
    ],
)
def test_a_file_that_is_no_yaml(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(FsatError, match=r"params\.yaml") as caught:
        params.read(tmp_path / "params.yaml")
    assert part in str(caught.value)


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """Ten levels of ten aliases each stand for ten milliards of entries."""
    levels = "".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]\n" for level in range(1, 10))
    (tmp_path / "params.yaml").write_text(f"l0: &l0 [{', '.join('x' * 10)}]\n{levels}seed: *l9\n")
    with pytest.raises(FsatError, match="seed: must be an integer") as caught:
        params.read(tmp_path / "params.yaml")
    assert len(str(caught.value)) < 10_000


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match=r"no such file. Write one: `fsat preset demo`, or `git checkout params.yaml`"):
        params.read(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(FsatError, match="not UTF-8"):
        params.read(tmp_path / "params.yaml")


def test_a_stage_without_any_epoch_is_refused(mapping: dict[str, Any]) -> None:
    for phase in ("frozen", "cyclic", "finetune_low", "finetune_high"):
        mapping["train"]["stage2"][phase]["epochs"] = 0
    with pytest.raises(FsatError, match=r"train\.stage2\.finetune_high: must have epochs"):
        params.validate(mapping)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train.stage1.run": False}, "train.stage2.run: must be false where train.stage1.run is"),
        ({"train.stage2.run": False}, "ensemble.models: lists stage2, but train.stage2.run is false. Set it to"),
        ({"ensemble.models": ["stage2", "last"]}, "ensemble.models: lists last, but embed.views is []. Add last to"),
        ({"ensemble.choose": "best"}, "ensemble.choose: must be all where train.select is best and ensemble.models"),
        ({"ensemble.choose": "best", "train.select": "last"}, ""),
        ({"ensemble.choose": "best", "ensemble.models": ["statistics"]}, ""),
        ({"train.stage2.run": False, "ensemble.models": ["stage1", "statistics"]}, ""),
        ({"train.stage1.run": False, "train.stage2.run": False, "ensemble.models": ["statistics"]}, ""),
        ({"ensemble.models": ["last", "middle"], "embed.views": ["middle", "last"]}, ""),
    ],
)  # fmt: skip
def test_the_models_of_the_submission_are_there(mapping: dict[str, Any], values: dict[str, Any], said: str) -> None:
    for key, value in values.items():
        mapping = put(mapping, key, value)
    judged(mapping, said)


@pytest.mark.parametrize(
    ("network", "backbone", "width", "said"),
    [
        ("mn04", "EfficientAT", 0.4, ""),
        ("mn10", "EfficientAT", 1.0, ""),
        ("mn10", "EfficientAT", 0.4, "model.width: must be 1.0, as sources.audioset.network is mn10 and model.weights"),
        ("mn04", "MobileNetV2", 0.4, "model.backbone: must be EfficientAT, as sources.audioset.network is mn04 and"),
    ],
)
def test_the_model_is_the_network_whose_weights_it_starts_from(
    mapping: dict[str, Any], network: str, backbone: str, width: float, said: str
) -> None:
    mapping = put(put(mapping, "sources.audioset.network", network), "model.backbone", backbone)
    mapping = put(put(mapping, "model.width", width), "model.weights", "./data/pretrained/audioset.weights.h5")
    judged(mapping, said)
    params.validate(put(mapping, "model.weights", "mine.weights.h5"))
