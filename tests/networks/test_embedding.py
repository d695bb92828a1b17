"""Embeddings of whole clips, and the stage that writes them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from fsat.inputs import frames, whole_clips
from fsat.inputs.frames import FrameStore
from fsat.networks import efficientat, embedding, model
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


@needs("reference/efficientat_mn04_as.npz")
@needs("pretrained/mn04_as_mAP_432.pt")
def test_embeddings_of_whole_clips_equal_the_published_ones() -> None:
    network = efficientat.build_tagger(0.4, 128)
    efficientat.fill(network, torch_checkpoint.read(SHARED / "pretrained" / "mn04_as_mAP_432.pt"), width=0.4)
    reference = np.load(SHARED / "reference" / "efficientat_mn04_as.npz", allow_pickle=False)
    names = [name.removesuffix("/log_mel") for name in reference.files if name.endswith("/log_mel")]
    # The reference holds scaled values; a store holds what is scaled when it is read.
    store = make_store({name: reference[f"{name}/log_mel"].T * 5 - 4.5 for name in names})
    found = embedding.embed(network.get_layer("trunk"), store, name="")
    expected = np.stack([reference[f"{name}/embedding"] for name in names])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dtype == np.float32 and found.shape == (6, 384)


@pytest.mark.usefixtures("shallow")
def test_an_embedding_depends_on_its_own_clip_alone() -> None:
    trunk = model.build_trunk("EfficientAT", width=0.4)
    clips = {f"{n}.wav": noise(n) for n in (1, 40, 200)}
    together = embedding.embed(trunk, make_store(clips), name="")
    for row, (name, clip) in enumerate(clips.items()):
        np.testing.assert_array_equal(embedding.embed(trunk, make_store({name: clip}), name="")[0], together[row])
    assert np.isfinite(together).all() and (together.std(axis=0) > 0).any()


@pytest.mark.usefixtures("shallow")
def test_a_long_clip_is_the_weighted_mean_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_clips, "LONGEST_PART", 100)
    trunk = model.build_trunk("EfficientAT", width=0.4)
    clip = noise(201)
    found = embedding.embed(trunk, make_store({"long.wav": clip}), name="")[0]
    pieces = {str(part[0]): clip[part] for part in whole_clips.parts(201)}
    assert [len(piece) for piece in pieces.values()] == [67, 67, 67]
    expected = embedding.embed(trunk, make_store(pieces), name="").mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# --- stage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with frames of a few clips."""
    monkeypatch.chdir(tmp_path)
    for split, sizes in (("train", (40, 33)), ("test", (1,))):
        frames.write_frames(f"data/mel/{split}", [(f"{n}.wav", noise(n)) for n in sizes], n_mels=64)
    return tmp_path


def run_stage(project: Path, pretrained_on: str, **changed: object) -> dict[str, pd.DataFrame]:
    from stages import embed

    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["model"] |= {"backbone": "EfficientAT", "width": 0.4, "weights": "initial.weights.h5"} | changed
    (project / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    trunk = model.build_trunk(values["model"]["backbone"], width=values["model"]["width"])
    model.save_trunk(trunk, project / "initial.weights.h5", pretrained_on=pretrained_on)
    embed.main()
    return {split: pd.read_parquet(project / f"data/embeddings/{split}.parquet") for split in ("train", "test")}


@pytest.mark.usefixtures("shallow")
def test_clips_are_embedded_by_weights_noted_as_pre_trained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stages import embed

    tables = run_stage(project, "AudioSet")
    assert tables["train"]["fname"].tolist() == ["40.wav", "33.wav"] and tables["test"]["fname"].tolist() == ["1.wav"]
    columns = [f"e{number:04d}" for number in range(384)]
    for table in tables.values():
        assert table.columns.tolist() == ["fname", *columns] and set(table.dtypes[1:]) == {np.dtype(np.float32)}
    assert "embeddings of EfficientAT, pre-trained on AudioSet" in capsys.readouterr().out
    first = (project / "data/embeddings/train.parquet").read_bytes()
    embed.main()
    assert (project / "data/embeddings/train.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("pretrained_on", "changed", "said"),
    [
        ("", {}, "is not noted as pre-trained"),
        ("ImageNet", {"backbone": "MobileNetV2", "width": 0.35}, "MobileNetV2 needs RGB input"),
    ],
)
def test_other_weights_give_tables_without_embeddings(
    pretrained_on: str, changed: dict[str, object], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = run_stage(project, pretrained_on, **changed)
    assert {split: table.columns.tolist() for split, table in tables.items()} == {"train": ["fname"], "test": ["fname"]}
    assert tables["train"]["fname"].tolist() == ["40.wav", "33.wav"]
    assert said in capsys.readouterr().out
