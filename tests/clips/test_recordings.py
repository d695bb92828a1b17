"""Stretches of recordings are read as if they were files of their own, in one pass or by seeking."""

import contextlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

import stages.filters
import stages.folds
import stages.index
import stages.mel
import stages.spectral
import stages.trim
from fsat.clips import audio
from fsat.clips.recordings import Sound, each, sounds
from fsat.core import files
from fsat.inputs import frames
from fsat.report.clips import with_media

ROOT = Path(__file__).parents[2]

RATE = 16_000
SPANS = [(7.0, 9.5), (0.0, 0.25), (0.1, 0.3), (12.345, 12.4), (3.0, 8.0), (19.9, 25.0)]  # the last: beyond the end
FORMATS = {
    "x.wav": {},
    "x.flac": {},
    "x.aiff": {"subtype": "PCM_24"},
    "x.ogg": {},
    "x.mp3": {},
    "x.opus": {"format": "OGG", "subtype": "OPUS"},
}
SOUGHT = {"x.wav", "x.flac", "x.aiff", "x.opus"}


@pytest.fixture
def signal() -> np.ndarray:
    rng = np.random.default_rng(0)
    sweep = np.sin(np.cumsum(np.linspace(0.05, 0.8, 20 * RATE)))
    return np.stack([0.4 * sweep, rng.normal(0, 0.05, len(sweep))], axis=1).astype(np.float32)


def identity(x: np.ndarray) -> np.ndarray:
    return x


@pytest.mark.parametrize("name", FORMATS)
def test_a_stretch_is_what_a_whole_reading_has_there(
    name: str, signal: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    with soundfile.SoundFile(path, "w", RATE, 2, **FORMATS[name]) as stream:
        for block in np.split(signal, 20):
            stream.write(block)
    whole = audio.load(path, RATE)
    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 1 << 14)
    found = each(Sound(path, [(0, None)] * len(SPANS), SPANS), work=identity, sample_rate=RATE)
    for x, (start, end) in zip(found, SPANS, strict=True):
        np.testing.assert_allclose(x, whole[round(start * RATE) : round(end * RATE)], rtol=0, atol=1e-6)
    [(_, half)] = audio.load_stretches(path, SPANS[:1], RATE // 2)
    np.testing.assert_array_equal(half, audio.resample(found[0], RATE, RATE // 2))
    with audio._opened(path) as sound:
        assert (sound.read_at is not None) == (name in SOUGHT)


def test_seeking_reads_what_it_needs(signal: np.ndarray, tmp_path: Path) -> None:
    """Damage elsewhere does not matter, damage in a stretch and samples that are none are told."""
    path = tmp_path / "x.wav"
    bad = signal.copy()
    bad[10 * RATE] = np.nan
    soundfile.write(path, bad, RATE, subtype="FLOAT")
    first = np.mean(signal[: 2 * RATE], axis=1)
    np.testing.assert_array_equal(each(Sound(path, stretches=[(0, 2)]), work=identity, sample_rate=RATE)[0], first)
    with pytest.raises(audio.AudioError, match="NaN or infinite samples"):
        each(Sound(path, stretches=[(9.5, 11)]), work=identity, sample_rate=RATE)


def test_clips_are_read_by_recording_in_their_order(signal: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", signal, RATE, subtype="FLOAT")
    rows = [("a.wav", 100, 900, 5.0, 6.0), ("a.wav", 0, 400, 1.0, 2.0), ("gone.wav", 0, 0, 0.0, 1.0)]
    table = pd.DataFrame(rows, columns=["path", "start", "end", "from_s", "to_s"])
    one, gone = sounds(table, tmp_path)
    assert str(one) == str(tmp_path / "a.wav")
    mono = signal.mean(axis=1)
    work = partial(each, work=identity, sample_rate=RATE)
    for x, expected in zip(work(one), (mono[5 * RATE + 100 :][:800], mono[RATE:][:400]), strict=True):
        np.testing.assert_array_equal(x, expected)
    assert [len(x) for x in work(gone)] == [0]  # a test clip that cannot be read
    files = sounds(table.drop(columns=["from_s", "to_s"]), tmp_path)
    assert [sound.intervals for sound in files] == [[(100, 900)], [(0, 400)], [(0, 0)]]
    np.testing.assert_array_equal(work(files[0])[0], mono[100:900])
    [whole] = sounds(table.iloc[:1].drop(columns=["from_s", "to_s"]), tmp_path, trimmed=False)
    np.testing.assert_array_equal(work(whole)[0], mono)


def test_annotated_stretches_have_the_features_and_players_of_files_cut_from_them(
    signal: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `index` to `spectral`, and in the report; a test recording that cannot be read keeps its rows."""
    monkeypatch.setenv("FSAT_JOBS", "1")
    annotated, cut = tmp_path / "annotated", tmp_path / "cut"
    lines = ["recording,start,end,label"]
    for name, (start, end), label in (
        *(("one.flac", (0.5, 1.0), "dog"), ("one.flac", (2.0, 2.7), "rain"), ("two.wav", (10.0, 10.9), "dog")),
        *(("two.wav", (0.25, 1.0), "rain"), ("test/bad.wav", (1.0, 2.0), "rain")),
    ):
        path = annotated / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, signal * (1 if name == "one.flac" else 0.5), RATE)
        lines.append(f"{name},{start},{end},{label}")
        clip = cut / name if "bad" in name else cut / label / f"{name}@{start:.3f}-{end:.3f}.wav"
        clip.parent.mkdir(parents=True, exist_ok=True)
        x, _ = soundfile.read(path, start=round(start * RATE), stop=round(end * RATE), dtype="int16")
        soundfile.write(clip, x, RATE)
    for path in (annotated / "test/bad.wav", cut / "test/bad.wav"):
        path.write_bytes(path.read_bytes()[:-1000])
    (annotated / "annotations.csv").write_text("\n".join(lines), encoding="utf-8")
    found = {}
    for folder in (annotated, cut):
        work = tmp_path / f"run-{folder.name}"
        work.mkdir()
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        values["dataset"] |= {"path": str(folder), "corrections": str(ROOT / values["dataset"]["corrections"])}
        values["folds"] |= {"n_splits": 2, "ids": [0, 1]}
        (work / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        with contextlib.chdir(work):
            for stage in (stages.index, stages.filters, stages.trim, stages.mel, stages.spectral, stages.folds):
                stage.main()
            trim, statistics = files.read_csv("data/trim.csv"), files.read_parquet("data/spectral.parquet")
            stores = {split: frames.open_frames(f"data/mel/{split}", limits=(-80, 0)) for split in ("train", "test")}
            run: Any = SimpleNamespace(trim=trim, dataset=folder, sample_rate=44_100, mel=stores)
            keys = (trim["split"] + "/" + trim["fname"]).tolist()
            shown = {key.removesuffix(".wav").rpartition("/")[2]: item for key, item in with_media(run, keys).items()}
            named = trim["path"].str.removesuffix(".wav") if folder == cut else trim["fname"]
            order = np.argsort(named.str.rpartition("/")[2].to_numpy(), kind="stable")
            found[folder.name] = (trim, statistics, stores["train"], shown, order, files.read_csv("data/folds.csv"))
    (trim, statistics, mel, players, order, made), (trim_2, statistics_2, mel_2, players_2, order_2, _) = found.values()
    assert len(trim) == 5 and trim.columns.tolist()[-2:] == ["from_s", "to_s"]
    columns = ["start", "end"]
    np.testing.assert_array_equal(trim[columns].to_numpy()[order], trim_2[columns].to_numpy()[order_2])
    np.testing.assert_array_equal(statistics.to_numpy()[order, 2:], statistics_2.to_numpy()[order_2, 2:])
    assert sorted(mel.lengths) == sorted(mel_2.lengths)
    assert mel.frames.sum(dtype=np.float64) == pytest.approx(mel_2.frames.sum(dtype=np.float64), rel=1e-12)
    assert len(players) == 4
    for (_, one), (_, other) in zip(sorted(players.items()), sorted(players_2.items()), strict=True):
        assert one == other
    assert made.groupby(made["fname"].str.partition("@")[0])["fold"].nunique().tolist() == [1, 1]
