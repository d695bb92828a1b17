"""The demo dataset: what is in it, that it is the same each time, and that it is neither trivial nor hopeless."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from fsat.core import files
from fsat.features import trim
from fsat.sources import demo
from shared_data import SHARED, needs

ROOT = Path(__file__).parents[2]
TABLES = {"train": "train_post_competition.csv", "test": "test_post_competition_scoring_clips.csv"}


def table(folder: Path, split: str) -> pd.DataFrame:
    return files.read_csv(folder / "FSDKaggle2018.meta" / TABLES[split])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training clips a label."""
    folder = tmp_path_factory.mktemp("demo")
    demo.write_dataset(folder, clips_per_class=2, seed=1)
    return folder


def test_files_and_columns_are_those_of_the_published_zips(small: Path) -> None:
    train, test = table(small, "train"), table(small, "test")
    assert list(train.columns) == ["fname", "label", "manually_verified", "freesound_id", "license"]
    assert list(test.columns) == ["fname", "label", "usage", "freesound_id", "license"]
    for split, rows in (("train", train), ("test", test)):
        listed = [path.name for path in (small / f"FSDKaggle2018.audio_{split}").iterdir()]
        assert sorted(listed) == list(rows["fname"])
    assert (train["label"].value_counts() == 2).all()
    assert test["label"].nunique() == 42 and len(test) == 41 + 5  # 41 labels and None
    ids = pd.concat([train["freesound_id"], test["freesound_id"]])
    assert ids.is_unique and pd.concat([train["fname"], test["fname"]]).is_unique
    assert set(train["manually_verified"]) == {0, 1} and set(test["usage"]) == {"Public", "Private", "Ignored"}


@needs("fsdkaggle2018_meta")
@pytest.mark.parametrize("split", ["train", "test"])
def test_columns_and_labels_are_the_real_ones(small: Path, split: str) -> None:
    real, ours = files.read_csv(SHARED / "fsdkaggle2018_meta" / TABLES[split]), table(small, split)
    assert list(real.columns) == list(ours.columns)
    assert set(real["label"]) == set(ours["label"]) - {"None"} == set(demo.LABELS)
    assert set(ours["license"]) <= set(real["license"])


def test_the_awkward_clips_are_as_awkward_as_promised(small: Path) -> None:
    test = table(small, "test")
    audio = small / "FSDKaggle2018.audio_test"
    ignored = test[test["usage"] == "Ignored"]
    assert list(ignored["label"]) == ["None", "None"] and (test["label"] == "None").sum() == 2
    sizes = [(audio / fname).stat().st_size for fname in ignored["fname"]]
    assert min(sizes) == 0
    silent = ignored["fname"].iloc[int(np.argmax(sizes))]
    assert not soundfile.read(audio / silent)[0].any()
    infos = {fname: soundfile.info(audio / fname) for fname in test["fname"] if (audio / fname).stat().st_size}
    assert {(info.subtype, info.samplerate, info.channels) for info in infos.values()} == {
        ("PCM_16", 44_100, 1), ("PCM_24", 44_100, 1), ("PCM_16", 48_000, 2),
    }  # fmt: skip
    assert min(info.frames for info in infos.values()) < 2048  # shorter than a frame of the spectrogram


def test_clips_are_short_and_have_silence_around_them(small: Path) -> None:
    seconds = []
    for path in (small / "FSDKaggle2018.audio_train").iterdir():
        x, sample_rate = soundfile.read(path, dtype="float32")
        start, end = trim.trim_interval(x, top_db=60)
        assert 0 < start < end < len(x)
        assert end - start < len(x) - 0.04 * sample_rate
        assert 0.2 < np.abs(x).max() < 1
        seconds.append(len(x) / sample_rate)
    assert 0.3 <= min(seconds) < max(seconds) <= 1.4
    assert 0.6 < np.median(seconds) < 1.0


@pytest.fixture
def few_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "LABELS", demo.LABELS[:4])


@pytest.mark.usefixtures("few_labels")
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        demo.write_dataset(tmp_path / name, clips_per_class=2, seed=seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    # The empty file, the silent one and the mark.
    assert len(set(a.values()) & set(c.values())) == 3


@pytest.mark.usefixtures("few_labels")
def test_a_clip_does_not_depend_on_how_many_others_there_are(small: Path, tmp_path: Path) -> None:
    demo.write_dataset(tmp_path, clips_per_class=1, seed=1)
    more, fewer = contents(small), contents(tmp_path)
    wavs = {name for name in fewer if name.endswith(".wav")}
    assert len(wavs) == 4 + 4 + 5
    assert all(fewer[name] == more[name] for name in wavs)


def test_every_label_is_in_one_family_and_has_a_recipe_of_its_own() -> None:
    assert sorted(label for family in demo.FAMILIES for label in family) == list(demo.LABELS)
    assert len(demo.LABELS) == 41 == len(set(map(repr, demo.RECIPES.values())))
    assert min(map(len, demo.FAMILIES)) >= 2


def test_the_demo_is_neither_trivial_nor_hopeless() -> None:
    """MAP@3 of the logistic regression on the statistics, as committed with the demo's other scores."""
    scores = files.read_json(ROOT / "metrics/baseline.json")
    assert scores["best"] == "statistics" and 0.6 < scores["features"]["statistics"]["test"] < 0.9
