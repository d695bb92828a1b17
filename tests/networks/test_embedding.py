"""Views of whole clips, and the stage that writes them."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from fsat.clips import audio
from fsat.core.errors import FsatError
from fsat.features import mel, mel_bank
from fsat.inputs import frames, whole_clips
from fsat.inputs.frames import FrameStore
from fsat.networks import efficientat, embedding, model
from fsat.networks import published as published_network
from fsat.sources import torch_checkpoint
from shared_data import SHARED, needs

ROOT = Path(__file__).parents[2]
LIMITS = (-4.5, 0.5)


def make_store(clips: dict[str, np.ndarray], limits: tuple[float, float] = LIMITS) -> FrameStore:
    """Frames (n_frames, M) of clips by name."""
    lengths = np.array([len(clip) for clip in clips.values()])
    return FrameStore(np.concatenate(list(clips.values())), list(clips), np.cumsum(lengths) - lengths, lengths, limits)


def noise(n_frames: int, n_mels: int = 64) -> np.ndarray:
    return np.random.default_rng(n_frames).normal(-2, 2, (n_frames, n_mels)).astype(np.float32)


def test_parts_are_all_frames_in_order_and_neither_short_nor_long() -> None:
    for n_frames in (1, 2, 31, 32, 33, 2999, 3000, 3001, 6001, 100_000):
        found = whole_clips.parts(n_frames)
        sizes = [len(part) for part in found]
        assert min(sizes) >= 32 and max(sizes) <= whole_clips.LONGEST_PART and max(sizes) - min(sizes) <= 1
        assert set(np.concatenate(found)) == set(range(n_frames))
        if n_frames >= 32:
            np.testing.assert_array_equal(np.concatenate(found), np.arange(n_frames))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the source stage makes of the published checkpoint."""
    network = efficientat.build_tagger(0.4, 128)
    efficientat.fill(network, torch_checkpoint.read(SHARED / "pretrained" / "mn04_as_mAP_432.pt"), width=0.4)
    path = tmp_path_factory.mktemp("published") / "audioset.weights.h5"
    hidden = tuple(network.get_layer("classifier.2").get_weights())
    model.save_trunk(network.get_layer("trunk"), path, pretrained_on="AudioSet", hidden=hidden)
    return path


def load(weights: Path, *names: str, n_mels: int = 128) -> keras.Model:
    return embedding.load(weights, "EfficientAT", width=0.4, n_mels=n_mels, names=names)


@needs("reference/efficientat_mn04_as.npz")
@needs("pretrained/mn04_as_mAP_432.pt")
def test_pooled_features_of_whole_clips_equal_the_published_ones(published: Path) -> None:
    reference = np.load(SHARED / "reference" / "efficientat_mn04_as.npz", allow_pickle=False)
    names = [name.removesuffix("/log_mel") for name in reference.files if name.endswith("/log_mel")]
    # The reference holds scaled values; a store holds what is scaled when it is read.
    store = make_store({name: reference[f"{name}/log_mel"].T * 5 - 4.5 for name in names})
    found = embedding.embed(load(published, "pooled"), store, name="")["pooled"]
    expected = np.stack([reference[f"{name}/embedding"] for name in names])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dtype == np.float32 and found.shape == (6, 384)


@needs("reference/efficientat_mn04_views.npz")
@needs("fsdkaggle2018_slice")
def test_views_of_whole_clips_equal_the_reference(published: Path) -> None:
    reference = np.load(SHARED / "reference" / "efficientat_mn04_views.npz", allow_pickle=False)
    paths = {path.name: path for path in (SHARED / "fsdkaggle2018_slice").glob("*/*.wav")}
    names = sorted({name.partition("/")[0] for name in reference.files} & paths.keys())
    names = sorted(names, key=lambda name: paths[name].stat().st_size)[:4]
    waves = {name: audio.load(paths[name], 44_100) for name in names}
    front_end = published_network.FRONT_END
    bank = mel_bank.grouped(mel_bank.kaldi(mel_bank.for_mel(front_end)))
    clips = {name: mel.log_mel(wave, sample_rate=44_100, settings=front_end, bank=bank) for name, wave in waves.items()}
    found = embedding.embed(load(published, "middle", "pooled", "last"), make_store(clips), name="")
    assert list(found) == ["middle", "pooled", "last"]
    for view, parts in {"last": ("bands", "hidden"), "middle": ("blocks", "squeezed")}.items():
        expected = np.stack([np.concatenate([reference[f"{name}/{part}"] for part in parts]) for name in names])
        np.testing.assert_allclose(found[view], expected, atol=1e-2)
        assert expected.shape[1] == {"last": 2048, "middle": 2144}[view] and expected.std() > 0.1
    np.testing.assert_allclose(found["last"][:, :1536].reshape(-1, 4, 384).mean(axis=1), found["pooled"], atol=1e-5)


@pytest.fixture
def untrained(tmp_path: Path, shallow: None) -> Path:
    """Weights of a trunk without the published head."""
    path = tmp_path / "trunk.weights.h5"
    model.save_trunk(model.build_trunk("EfficientAT", width=0.4), path, pretrained_on="AudioSet")
    return path


@pytest.fixture
def network(untrained: Path) -> keras.Model:
    return load(untrained, "pooled", "middle", n_mels=64)


def test_a_view_that_the_trunk_lacks_is_refused_with_those_it_has(untrained: Path) -> None:
    with pytest.raises(FsatError, match=r"no view last\. It has: middle, pooled; last needs a file that keeps the pub"):
        load(untrained, "pooled", "last")
    with pytest.raises(FsatError, match=r"MobileNetV2 .* has no view pooled\. It has: none, as it reads images"):
        embedding.load(untrained, "MobileNetV2", width=0.35, n_mels=64, names=["pooled"])


def test_a_view_depends_on_its_own_clip_alone(network: keras.Model) -> None:
    clips = {f"{n}.wav": noise(n) for n in (1, 40, 200)}
    together = embedding.embed(network, make_store(clips), name="")
    for row, (name, clip) in enumerate(clips.items()):
        alone = embedding.embed(network, make_store({name: clip}), name="")
        for view, values in together.items():
            np.testing.assert_array_equal(alone[view][0], values[row])
    assert all(np.isfinite(values).all() and (values.std(axis=0) > 0).any() for values in together.values())


def test_a_long_clip_is_the_weighted_mean_of_its_parts(network: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_clips, "LONGEST_PART", 100)
    clip = noise(201)
    found = embedding.embed(network, make_store({"long.wav": clip}), name="")["pooled"][0]
    pieces = {str(part[0]): clip[part] for part in whole_clips.parts(201)}
    assert [len(piece) for piece in pieces.values()] == [67, 67, 67]
    expected = embedding.embed(network, make_store(pieces), name="")["pooled"].mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# --- stage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with frames of a few clips."""
    monkeypatch.chdir(tmp_path)
    for split, sizes in (("train", (40, 33)), ("test", (1,))):
        frames.write_frames(f"data/mel/{split}", [(f"{n}.wav", noise(n)) for n in sizes], n_mels=64)
    return tmp_path


def run_stage(project: Path, pretrained_on: str, views: list[str]) -> dict[str, pd.DataFrame]:
    from stages import embed

    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["model"] |= {"backbone": "EfficientAT", "width": 0.4, "weights": "initial.weights.h5"}
    values["embed"]["views"], values["train"]["portable"] = views, False
    (project / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    trunk = model.build_trunk("EfficientAT", width=0.4)
    hidden = (np.ones((384, 512), np.float32), np.zeros(512, np.float32))
    model.save_trunk(trunk, project / "initial.weights.h5", pretrained_on=pretrained_on, hidden=hidden)
    embed.main()
    return {split: pd.read_parquet(project / f"data/embeddings/{split}.parquet") for split in ("train", "test")}


@pytest.mark.usefixtures("shallow")
def test_views_are_columns_in_the_order_of_the_list(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stages import embed

    tables = run_stage(project, "AudioSet", ["pooled", "last"])
    assert tables["train"]["fname"].tolist() == ["40.wav", "33.wav"] and tables["test"]["fname"].tolist() == ["1.wav"]
    # Of 64 mel bands the shallow trunk leaves 8.
    sizes = {"pooled": 384, "last": 8 * 384 + 512}
    columns = [f"{view}.{number:04d}" for view, k in sizes.items() for number in range(k)]
    for table in tables.values():
        assert table.columns.tolist() == ["fname", *columns] and set(table.dtypes[1:]) == {np.dtype(np.float32)}
    assert "views of EfficientAT, pre-trained on AudioSet: pooled, last" in capsys.readouterr().out
    first = (project / "data/embeddings/train.parquet").read_bytes()
    embed.main()
    assert (project / "data/embeddings/train.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("pretrained_on", "views", "said"),
    [("", ["pooled"], "initial.weights.h5 is not noted as pre-trained"), ("AudioSet", [], "none is listed")],
)
def test_without_views_the_tables_have_the_names_alone(
    pretrained_on: str, views: list[str], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = run_stage(project, pretrained_on, views)
    assert {split: table.columns.tolist() for split, table in tables.items()} == {"train": ["fname"], "test": ["fname"]}
    assert tables["train"]["fname"].tolist() == ["40.wav", "33.wav"]
    assert said in capsys.readouterr().out
