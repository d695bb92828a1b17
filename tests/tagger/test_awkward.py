"""Sound files as people have them: read to the end by every part that reads sounds, or refused with both numbers."""

import csv
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import RATE, project

from shared_data import SHARED, needs

pytest.importorskip("av", reason="the extra `formats` is not installed")

from fsat.app.sounds import Sound, examine
from fsat.clips import audio, index
from fsat.features import mel, spectral, trim
from fsat.tagger.results import Failed, Tagged
from fsat.tagger.tagger import Tagger

__all__ = ["project"]

FOLDER = SHARED / "awkward"
MANIFEST = FOLDER / "manifest.csv"
ROWS = list(csv.DictReader(MANIFEST.open(encoding="utf-8"))) if MANIFEST.exists() else []
BOTH_NUMBERS = r"\d+ of \d+ (samples|bytes|MPEG frames)|no sound track"
WINDOW_S, SLACK_S = 0.5, 0.1


@pytest.fixture(scope="module")
def tagger(project: Path) -> Tagger:
    return Tagger(project / "data" / "bundle", tries=1, lengths=1, n_folds=1)


@needs("awkward/manifest.csv")
@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_a_file_is_whole_or_refused_everywhere(row: dict[str, str], tagger: Tagger, tmp_path: Path) -> None:
    path = tmp_path / row["file"]
    shutil.copy(FOLDER / row["file"], path)
    info = audio.probe(path)
    if info.problem:
        assert "refuse" in row["expect"]
        refused(path, info.problem, tagger)
    else:
        assert row["expect"] != "refuse"
        whole(path, float(row["seconds"]), tagger)
    assert bool(info.note) == (row["expect"] == "note")


def refused(path: Path, problem: str, tagger: Tagger) -> None:
    assert re.search(BOTH_NUMBERS, problem)
    for read in (tagger, partial(audio.load, sample_rate=RATE)):
        with pytest.raises(audio.AudioError) as raised:
            read(path)
        assert raised.value.reason == problem
    *windows, failed = tagger.tag_files([path], segment_s=WINDOW_S)
    assert failed == examine(tagger, str(path), segment_s=1, hop_s=1, threshold=0.5) == Failed(str(path), problem)
    assert all(isinstance(window, Tagged) for window in windows)
    assert len(windows) >= 1 or "no sound track" in problem or "its index" in problem


def whole(path: Path, seconds: float, tagger: Tagger) -> None:
    def close(found: float) -> bool:
        return abs(found - seconds) <= SLACK_S

    p = tagger.manifest.preprocessing
    assert p.spectral is not None and tagger.filters.spectral is not None
    n = len(x := audio.load(path, RATE))
    _, end = trim.trim_interval(x, top_db=200)
    frames = mel.log_mel(x, sample_rate=RATE, settings=p.mel, bank=tagger.filters.mel)
    options = {"sample_rate": RATE, "bank": tagger.filters.spectral, **p.spectral.model_dump()}
    statistics = spectral.spectral_statistics(x, **options)
    assert close(n / RATE) and close(end / RATE)
    assert close(len(frames) * p.mel.hop_length / p.mel.sample_rate) and np.isfinite(statistics).all()
    assert close(tagger(path).end_s)
    *_, last = tagger.tag_files([path], segment_s=WINDOW_S)
    assert isinstance(last, Tagged) and close(last.end_s)
    shown = examine(tagger, str(path), segment_s=1.0, hop_s=1.0, threshold=0.5)
    assert isinstance(shown, Sound) and close(shown.whole.end_s) and close(audio.probe(shown.player).seconds)


@needs("awkward/manifest.csv")
def test_index_lists_the_good_ones_and_names_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSAT_JOBS", "1")
    for number, row in enumerate(ROWS):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        shutil.copy(FOLDER / row["file"], tmp_path / "ab"[number % 2])
    found = index.scan(tmp_path, bad_clips="skip")
    seconds = dict(zip(found.table["path"].map(lambda path: Path(path).name), found.table["seconds"], strict=True))
    skipped = next(note for note in found.notes if "are skipped" in note)
    for row in ROWS:
        if row["file"] in seconds:
            assert row["expect"] != "refuse" and abs(seconds[row["file"]] - float(row["seconds"])) <= SLACK_S
        else:
            assert "refuse" in row["expect"] and row["file"] in skipped
    assert any("cancelling_channels.wav" in note and "cancel" in note for note in found.notes)
