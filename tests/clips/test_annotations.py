"""Recordings and annotations: three kinds of tables give one index, with everything that can be wrong with them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from fsat.clips import annotations, audio, folds, index
from fsat.core.errors import FsatError

RATE = 8_000
Rows = dict[str, list[tuple[float, float, str]]]
# Raven writes nine decimals, Audacity six.
ROWS: Rows = {
    "a/one.wav": [(0.5, 1.2, "Dog"), (2.0, 2.8, "Rain"), (5.123456789, 7.0, "Dog")],
    "a/deep/two.flac": [(1.0, 2.0, "Rain"), (3.0, 4.5, "Dog")],
    "test/three.wav": [(0.0, 1.0, "Dog"), (5.0, 6.0, "Rain")],
}
HEADS = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSAT_JOBS", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings of ten seconds."""
    for number, name in enumerate(ROWS):
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(number).uniform(-0.1, 0.1, 10 * RATE), RATE)
    return tmp_path / "sounds"


def as_csv(folder: Path, *more: str, heads: str = "recording,start,end,label", rows: Rows = ROWS) -> None:
    lines = [f"{name},{start},{end},{label}" for name, found in rows.items() for start, end, label in found]
    (folder / "annotations.csv").write_text("\n".join([heads, *(lines if not more else []), *more]), encoding="utf-8")


def as_raven(folder: Path) -> None:
    for name, rows in ROWS.items():
        views = ("Waveform 1", "Spectrogram 1")
        lines = [
            f"{number}\t{view}\t{1 + (view == views[1])}\t{start:.9f}\t{end:.9f}\t0.0\t4000.0\t{label}"
            for number, (start, end, label) in enumerate(rows, 1)
            for view in views
        ]
        table = (folder / name).with_suffix(".Table.1.selections.txt")
        table.write_text("\r\n".join([f"{HEADS}\tSpecies", *lines, ""]), encoding="utf-8")


def as_one_raven_table(folder: Path) -> None:
    """As Raven saves it of several files that are open as one: Begin Time runs on."""
    lines = [f"{HEADS}\tAnnotation\tBegin File\tFile Offset (s)"]
    for before, (name, rows) in enumerate(ROWS.items()):
        for start, end, label in rows:
            times = f"{10 * before + start:.9f}\t{10 * before + end:.9f}\t0.0\t4000.0"
            lines.append(f"{len(lines)}\tSpectrogram 1\t1\t{times}\t{label}\t{Path(name).name}\t{start:.9f}")
    (folder / "all.selections.txt").write_text("\n".join(lines), encoding="utf-8")


def as_audacity(folder: Path) -> None:
    for name, rows in ROWS.items():
        lines = [f"{start:.6f}\t{end:.6f}\t{label}\n\\\t100.0\t200.0\n" for start, end, label in rows]
        (folder / name).with_suffix(".txt").write_text("".join(lines), encoding="utf-8")


def scanned(folder: Path, **options: object) -> index.Index:
    return index.scan(folder, **options)  # type: ignore[arg-type]


def test_a_csv_makes_a_clip_of_each_row(folder: Path) -> None:
    as_csv(folder)
    found = scanned(folder)
    train = found.table[found.table["split"] == "train"]
    assert train["fname"].tolist() == [
        *("a/deep/two.flac@1.000-2.000", "a/deep/two.flac@3.000-4.500"),
        *("a/one.wav@0.500-1.200", "a/one.wav@2.000-2.800", "a/one.wav@5.123-7.000"),
    ]
    assert train["path"].tolist() == train["group"].tolist() == ["a/deep/two.flac"] * 2 + ["a/one.wav"] * 3
    assert train["seconds"].tolist() == [1.0, 1.5, 0.7, 0.8, 1.877]
    assert found.table["start"].tolist() == [1.0, 3.0, 0.5, 2.0, 5.123, 0.0, 5.0]
    assert found.table["label"].tolist()[5:] == ["Dog", "Rain"] and found.notes == []


@pytest.mark.parametrize("write", [as_raven, as_one_raven_table, as_audacity])
def test_the_same_annotations_give_the_same_index(write: object, folder: Path) -> None:
    as_csv(folder)
    expected = scanned(folder, background=2)
    (folder / "annotations.csv").unlink()
    write(folder)  # type: ignore[operator]
    found = scanned(folder, background=2)
    pd.testing.assert_frame_equal(found.table, expected.table)
    assert found.notes == expected.notes and found.facts == expected.facts


def test_columns_of_a_csv(folder: Path) -> None:
    heads = "recording,start,end,label,split,group,license,manually_verified"
    one, two = "a/one.wav,1,2,Dog,,pond,CC0,1", "a/deep/two.flac,1,2,Rain,test,,,0"
    as_csv(folder, one, two, "test/three.wav,1,2,Rain,train,,,", heads=heads)
    table = scanned(folder).table
    assert table["split"].tolist() == ["train", "train", "test"]
    assert table["group"].tolist() == ["pond", "test/three.wav", ""]
    assert table["verified"].tolist() == ["1", "", "0"] and table["license"].tolist() == ["CC0", "", ""]


def problems(folder: Path, **options: object) -> str:
    with pytest.raises(FsatError) as caught:
        scanned(folder, **options)
    return str(caught.value)


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    rows = ["none.wav,1,2,Dog", "../x.wav,1,2,Dog", "a/one.wav,3,2,Dog", "a/one.wav,3,3,Dog", "a/one.wav,x,3,Dog"]
    rows += ["a/one.wav,9,10.2,Dog", "a/one.wav,10,10.05,Dog", "a/one.wav,-1,2,Dog", "a/one.wav,1,2,"]
    rows += ["a/one.wav,4,5,Dog", "a/one.wav,4,5.0001,Rain", "a/one.wav,6,7,Dog,2"]
    as_csv(folder, *rows)
    text = problems(folder)
    assert "11 problems" in text
    for part in (
        "no such recording. ",
        "annotations.csv line 2: none.wav",
        "annotations.csv line 3: ../x.wav",
        "end is not after start. ",
        "annotations.csv line 4: 3 to 2",
        "annotations.csv line 5: 3 to 3",
        "annotations.csv line 6: x to 3",
        "a/one.wav@9.000-10.200: the recording ends at 10.000",
        "a/one.wav@10.000-10.050: the recording ends",
        "annotations.csv line 9: -1 to 2, in a/one.wav",
        "annotation without a label. ",
        "annotations.csv line 12: Rain (also annotations.csv line 11: Dog)",
        "row with another number of fields",
    ):
        assert part in text
    as_csv(folder, "a/one.wav,9,10.05,Dog", "a/one.wav,1,2,Rain", "a/deep/two.flac,1,2,Rain")
    assert scanned(folder).table["seconds"].tolist() == [1.0, 1.0, 1.0]  # cut at the end of the recording


def test_problems_of_label_files(folder: Path) -> None:
    (folder / "a/one.txt").write_text("0.5\t0.5\tDog\n1\t2\n1\t2\t\n", encoding="utf-8")
    (folder / "a/one.flac").write_bytes((folder / "a/deep/two.flac").read_bytes())
    (folder / "a/deep/two.txt").write_text("remember the milk", encoding="utf-8")
    (folder / "test/three.selections.txt").write_text(f"{HEADS}\tWhat\n", encoding="utf-8")
    (folder / "all.selections.txt").write_text(
        f"{HEADS}\tWhat\tLabel\tBegin File\n1\tS\t1\t1\t2\t0\t9\tDog\tRain\tfour.wav\n2\tS\t1\t1\t2\t0\t9\tx\ty\n",
        encoding="utf-8",
    )
    text = problems(folder)
    for part in (
        "several recordings have this name. ",
        "a/one.txt (a/one.flac, a/one.wav)",
        "a/deep/two.txt line 1: remember the milk",
        "column Label, Annotation or Species missing. ",
        "test/three.selections.txt (found: selection, view",
        "all.selections.txt line 2: four.wav",
    ):
        assert part in text
    (folder / "a/one.flac").unlink()
    text = problems(folder)
    assert "end is not after start. " in text and text.count("annotation without a label") == 1
    (folder / "a/one.txt").write_text("0.5\t1\tDog\n", encoding="utf-8")
    (folder / "a/deep/two.txt").write_text("", encoding="utf-8")  # nothing heard
    (folder / "all.selections.txt").unlink()
    row = "1\tS\t1\t1\t2\t0\t9\tRain"
    (folder / "test/three.selections.txt").write_text(f"{HEADS}\tWhat\n{row}\n", encoding="utf-8")
    table = scanned(folder, label_column="what", background=1).table
    labels = {path: sorted(own) for path, own in table.groupby("path")["label"]}
    nothing = annotations.BACKGROUND
    assert labels == {"a/deep/two.flac": [nothing], "a/one.wav": ["Dog", nothing], "test/three.wav": ["Rain", nothing]}


def test_what_a_run_can_live_with_is_noted(folder: Path) -> None:
    rows: Rows = {"a/one.wav": [(1, 3, "Dog"), (2.96, 3.5, "Rain"), (3.5, 3.53, "Dog"), (5, 6, "Dog"), (5, 6, "Dog")]}
    as_csv(folder, rows=rows)
    assert scanned(folder).notes[:4] == [
        "1 annotations say again what another says: annotations.csv line 6",
        "2 recordings without annotations are not used: a/deep/two.flac, test/three.wav",
        "1 annotations are shorter than 50 ms: a/one.wav@3.500-3.530",
        (
            "2 annotations are at the same time as one of another label, while a clip has one label: "
            "a/one.wav@1.000-3.000, a/one.wav@2.960-3.500"
        ),
    ]


def test_a_selection_table_may_be_any_text(folder: Path) -> None:
    """As `fsat tag --format raven --output all.txt` writes it; beside a recording it is no label track."""
    as_csv(folder)
    expected = list(scanned(folder).table["fname"])
    (folder / "annotations.csv").unlink()
    as_one_raven_table(folder)
    (folder / "all.selections.txt").rename(folder / "all.txt")
    assert list(scanned(folder).table["fname"]) == expected
    (folder / "all.txt").unlink()
    as_raven(folder)
    (folder / "a/one.Table.1.selections.txt").rename(folder / "a/one.txt")
    assert list(scanned(folder).table["fname"]) == expected


def test_label_files_beside_a_csv_are_noted(folder: Path) -> None:
    """As `fsat tag --output FOLDER` writes them, into a dataset that has a CSV."""
    as_csv(folder)
    as_raven(folder)
    (folder / "a/one.txt").write_text("1.0\t2.0\tDog\n", encoding="utf-8")
    (folder / "a/read.me.txt").write_text("Recorded at the pond.\n", encoding="utf-8")
    [note] = [note for note in scanned(folder).notes if "label files" in note]
    assert note.startswith("4 label files are not read, because annotations.csv is there: a/deep/two.Table.1.sel")
    assert "read.me" not in note


def test_a_recording_may_be_longer_than_a_clip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_SECONDS", 2)
    as_csv(folder)
    assert len(scanned(folder).table) == 7
    as_csv(folder, "a/one.wav,1,4,Dog", "a/deep/two.flac,1,2,Rain")
    assert "annotation longer than 2 s. Cut it into shorter ones.\n    a/one.wav@1.000-4.000" in problems(folder)


def test_a_damaged_recording_is_told_once_and_skipped_on_request(folder: Path) -> None:
    as_csv(folder)
    path = folder / "a/one.wav"
    path.write_bytes(path.read_bytes()[:-1000])
    assert problems(folder).count("a/one.wav: truncated") == 1
    found = scanned(folder, bad_clips="skip", background=1)
    assert found.notes[0].startswith("3 bad training clips are skipped: a/one.wav: truncated")
    assert "a/one.wav" not in set(found.table["path"])


def test_copies_of_recordings_are_found_by_their_stretches(folder: Path) -> None:
    (folder / "test/three.wav").write_bytes((folder / "a/one.wav").read_bytes())
    rows: Rows = {"a/one.wav": [(1, 2, "Dog"), (3, 4, "Rain")], "test/three.wav": [(1, 2, "Dog"), (5, 6, "Dog")]}
    as_csv(folder, rows=rows)
    [note] = [note for note in scanned(folder).notes if "also in train" in note]
    assert note == "test clip test/three.wav@1.000-2.000 is also in train: a/one.wav@1.000-2.000 (same bytes)"


# --- background ------------------------------------------------------------------------------------------------------


def test_background_lies_where_nothing_is_annotated(folder: Path) -> None:
    as_csv(folder)
    table = scanned(folder, background=3, seed=5).table
    drawn = table[table["label"] == annotations.BACKGROUND]
    assert drawn["path"].value_counts().to_dict() == dict.fromkeys(ROWS, 3)
    assert drawn["seconds"].unique().tolist() == [1.0]  # the median
    for _, own in table.sort_values("start").groupby("path"):
        ends = own["end"].tolist()
        assert all(end <= start for end, start in zip(ends, own["start"].tolist()[1:], strict=False))
        assert ends[-1] <= 10
    again = scanned(folder, background=3, seed=5).table
    pd.testing.assert_frame_equal(table, again)
    assert not table.equals(scanned(folder, background=3, seed=6).table)
    assert drawn["split"].tolist() == ["train"] * 6 + ["test"] * 3
    assert "3 recordings have room for fewer than 20 windows" in scanned(folder, background=20).notes[-1]


def test_background_is_not_where_a_licence_leaves_something_out(folder: Path, tmp_path: Path) -> None:
    heads = "recording,start,end,label,license"
    rows = [
        f"{name},{start},{start + 1},{label},CC0" for name in list(ROWS)[:2] for start, label in ((0, "A"), (2, "B"))
    ]
    as_csv(folder, *rows, "a/one.wav,3,10,B,NC", "test/three.wav,0,1,B,NC", heads=heads)
    (folder / "test").rename(folder / "more")
    text = (folder / "annotations.csv").read_text(encoding="utf-8").replace("test/", "more/")
    (folder / "annotations.csv").write_text(text, encoding="utf-8")
    table = scanned(folder, background=9, exclude_licenses=["NC"]).table
    drawn = table[table["label"] == annotations.BACKGROUND]
    assert set(drawn["path"]) == {"a/one.wav", "a/deep/two.flac"} and set(drawn["license"]) == {"CC0"}
    assert drawn.loc[drawn["path"] == "a/one.wav", "start"].tolist() == [1.0]


def test_no_recording_outside_the_folder_is_opened(folder: Path, tmp_path: Path) -> None:
    as_audacity(folder)
    (folder / "a/one.wav").rename(tmp_path / "out.wav")
    (folder / "a/one.wav").symlink_to(tmp_path / "out.wav")
    (folder / "a/one.txt").write_text("", encoding="utf-8")  # nothing but background
    assert "a/one.wav" not in set(scanned(folder, background=1).table["path"])
    (folder / "a/one.txt").write_text("0\t1\tDog\n", encoding="utf-8")
    assert "leads outside the dataset folder" in problems(folder)


def test_every_free_place_is_as_probable() -> None:
    """20 ms are taken in the middle of 100: two windows' places in 40 ms each, uniform to 5 sigma."""
    rng = np.random.default_rng(0)
    draws = [
        annotations.free_stretches([(0.04, 0.06)], 0.1, length=0.01, n=1, rng=rng)[0][0] for _ in range(31 * 2 * 200)
    ]
    starts, counts = np.unique(np.rint(1000 * np.array(draws)).astype(int), return_counts=True)
    assert starts.tolist() == [*range(31), *range(60, 91)]
    assert abs(counts - 200).max() < 5 * np.sqrt(200)
    full = annotations.free_stretches([(0.0, 0.02), (0.01, 0.05)], 0.1, length=0.025, n=9, rng=rng)
    assert 1 <= len(full) <= 2 and all(start >= 0.05 and end <= 0.1 for start, end in full)
    assert annotations.free_stretches([(0, 1)], 1.0, length=0.1, n=3, rng=rng) == []


# --- folds -----------------------------------------------------------------------------------------------------------


def test_few_recordings_are_grouped_by_five_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame({"path": ["x.wav"] * 4, "group": ["x.wav"] * 4, "start": [0.0, 299.9, 300.0, 3601.5]})
    assert folds.groups(table, n_splits=2) == ["x.wav@0", "x.wav@0", "x.wav@300", "x.wav@3600"]
    assert "1 annotated recordings for 2 folds" in capsys.readouterr().err
    assert folds.groups(table, n_splits=1) == ["x.wav"] * 4  # enough of them
    assert folds.groups(table.assign(group=["p", "q", "p", "q"]), n_splits=3) == ["p", "q", "p", "q"]
    assert folds.groups(table.drop(columns="start"), n_splits=2) == ["x.wav"] * 4
    assert folds.groups(table[["path"]], n_splits=2) is None
    assert capsys.readouterr().err == ""
