"""Dataset folders: three layouts, everything that can be wrong with one, licences and leakage."""

import contextlib
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from fsat.clips import layouts
from fsat.clips.index import INDEX_COLUMNS, LONG_CLIP_S, _notes_on_length, scan
from fsat.core import parallel
from fsat.core.errors import FsatError
from shared_data import SHARED, needs


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSAT_JOBS", "1")


def write_clip(path: Path, number: int = 0) -> None:
    """Write 50 ms of noise, another for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).uniform(-0.5, 0.5, 400)
    soundfile.write(path, noise, 8000)


def write_clips(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        write_clip(folder / name, number)


TRAIN = ["fname,label", "a.wav,Cello", "b.wav,Cello", "c.wav,Oboe", "d.wav,Oboe"]


@pytest.fixture
def kaggle(tmp_path: Path) -> Callable[..., Path]:
    """Make a dataset in Kaggle's layout from the lines of its tables."""

    def make(train: list[str] = TRAIN, test: list[str] | None = None, clips: str = "abcd", **other: list[str]) -> Path:
        folder = tmp_path / "sounds"
        for number, name in enumerate(clips):
            write_clip(folder / "audio_train" / f"{name}.wav", number)
        (folder / "train.csv").write_text("\n".join(train) + "\n", encoding="utf-8")
        if test is not None:
            write_clip(folder / "audio_test" / "x.wav", 100)
            (folder / "test.csv").write_text("\n".join(test) + "\n", encoding="utf-8")
        return folder

    return make


def problems(folder: Path, *, bad_clips: str = "fail") -> str:
    with pytest.raises(FsatError) as caught:
        scan(folder, bad_clips=bad_clips)
    return str(caught.value)


def scanned(folder: Path) -> pd.DataFrame:
    return scan(folder).table


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_kaggle_layout(kaggle: Callable[..., Path]) -> None:
    test = ["fname,label,usage,freesound_id,license", "x.wav,Cello,Public,12,CC0"]
    index = scan(kaggle(["fname,label,manually_verified", *(f"{row},1" for row in TRAIN[:0:-1])], test))
    table = index.table
    assert list(table.columns) == INDEX_COLUMNS
    assert table["fname"].tolist() == ["a.wav", "b.wav", "c.wav", "d.wav", "x.wav"]
    assert table["split"].tolist() == ["train"] * 4 + ["test"]
    assert table["path"].tolist()[3:] == ["audio_train/d.wav", "audio_test/x.wav"]
    assert table.iloc[4].tolist()[3:8] == ["Cello", "Public", "", "12", "CC0"]
    assert table["verified"].tolist() == ["1"] * 4 + [""]
    assert table["sample_rate"].tolist() == [8000] * 5
    assert table["seconds"].tolist() == [0.05] * 5
    assert set(table["problem"]) == {""}
    assert index.notes == [] and index.facts["synthetic"] is False
    counts = {"clips": 4, "hours": 0.0001, "verified": 4, "classes": 2, "bad": 0, "excluded": 0}
    assert index.facts["train"] == counts | {"clips_per_class": {"min": 2, "max": 2}}


def test_kaggle_test_clips_without_labels(kaggle: Callable[..., Path]) -> None:
    """Names come from the sample submission, whose labels are placeholders, or else from the folder."""
    index = scan(kaggle(test=["fname,label,usage", "x.wav,None,Ignored"]))
    assert index.table[["label", "usage"]].iloc[4].tolist() == ["", "Ignored"]
    assert index.facts["test"]["labelled"] == 0
    folder = kaggle()
    (folder / "test.csv").unlink()
    (folder / "audio_test" / "x.wav").unlink()
    write_clip(folder / "audio_test" / "y.wav", 7)
    assert scanned(folder)[["fname", "label"]].to_numpy().tolist()[4:] == [["y.wav", ""]]
    (folder / "sample_submission.csv").write_text("fname,label\ny.wav,Laughter Hi-Hat Flute\n")
    assert scanned(folder)[["fname", "label"]].to_numpy().tolist()[4:] == [["y.wav", ""]]


def test_class_folders(tmp_path: Path) -> None:
    write_clips(tmp_path, "Dog bark/1.wav", "Dog bark/2.flac", "Cat/1.wav", "test/Cat/9.wav", "test/new.wav")
    (tmp_path / "Cat" / "README.txt").write_text("about cats")
    (tmp_path / "Cat" / ".DS_Store").write_text("")
    (tmp_path / "notes.txt").write_text("about all")
    index = scan(tmp_path)
    assert index.table[["split", "fname", "label"]].to_numpy().tolist() == [
        ["train", "Cat/1.wav", "Cat"],
        ["train", "Dog bark/1.wav", "Dog_bark"],
        ["train", "Dog bark/2.flac", "Dog_bark"],
        ["test", "test/Cat/9.wav", "Cat"],
        ["test", "test/new.wav", ""],
    ]
    assert (index.table["fname"] == index.table["path"]).all()
    notes = "\n".join(index.notes)
    one = "1 labels have one training clip only: Cat"
    assert all(part in notes for part in ("README.txt", "notes.txt", "'Dog bark' is written Dog_bark", one))
    assert ".DS_Store" not in notes


def test_class_folders_with_a_table_of_details(tmp_path: Path) -> None:
    write_clips(tmp_path, "Dog/1.wav", "Dog/2.wav", "Cat/1.wav", "Cat/2.wav", "test/new.wav")
    rows = ["Dog/1.wav,0,a,x", "Dog/2.wav,1,b,", "Cat/1.wav,0,a,", "Cat/2.wav,1,c,"]
    (tmp_path / "clips.csv").write_text("\n".join(["fname,fold,group,license", *rows]))
    index = scan(tmp_path)
    assert index.table[["fname", "label", "fold", "group", "license"]].to_numpy().tolist() == [
        ["Cat/1.wav", "Cat", "0", "a", ""],
        ["Cat/2.wav", "Cat", "1", "c", ""],
        ["Dog/1.wav", "Dog", "0", "a", "x"],
        ["Dog/2.wav", "Dog", "1", "b", ""],
        ["test/new.wav", "", "", "", ""],
    ]
    assert "clips.csv" not in "\n".join(index.notes)


def test_problems_of_a_table_of_details(tmp_path: Path) -> None:
    write_clips(tmp_path, "Dog/1.wav", "Dog/2.wav", "Cat/1.wav", "Cat/2.wav")
    rows = ["Dog/1.wav,0", "Dog/1.wav,1", "Cat/1.wav,first", "../Cat/2.wav,1", "Dog/9.wav,1"]
    (tmp_path / "clips.csv").write_text("\n".join(["fname,fold", *rows]))
    text = problems(tmp_path)
    lines = ("line 3: Dog/1.wav", "line 5: ../Cat/2.wav", "line 6: Dog/9.wav")
    said = ("fname twice", "fold is not a number", "no such clip", "training clip without a row in clips.csv")
    assert all(part in text for part in (*(f"clips.csv {line}" for line in lines), *said, "Dog/2.wav"))


def test_class_folder_problems(tmp_path: Path) -> None:
    write_clips(tmp_path, "Dog bark/1.wav", "Dog_bark/1.wav", "fold/1.wav", "Cat/deeper/1.wav")
    (tmp_path / "Dog_bark" / "x.wav").mkdir()
    text = problems(tmp_path)
    for part in ("differ in spaces only", "label is a word that", "folder without clips", "x.wav: is a folder, not a"):
        assert part in text


@needs("fsdkaggle2018_slice")
def test_published_layout_on_real_clips() -> None:
    index = scan(SHARED / "fsdkaggle2018_slice")
    table = index.table
    assert table.groupby("split").size().to_dict() == {"train": 200, "test": 50}
    assert index.facts["train"]["clips_per_class"] == {"min": 20, "max": 20}
    assert index.facts["test"]["labelled"] == 50
    assert table["usage"].value_counts().to_dict() == {"": 200, "Private": 40, "Public": 10}
    assert set(table["sample_rate"]) == {44100}
    assert 1.0 <= table["seconds"].min() < table["seconds"].max() <= 26.4
    assert index.notes == []


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", " , "),
        lambda text: "\n" + text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("fname", "FName"),
        lambda text: text.replace("a.wav", '"a.wav"'),
        lambda text: "\ufeff" + text.replace(",", ";").replace("\n", "\r\n"),
        lambda text: "sep=;\n" + text.replace(",", ";"),
        lambda text: '\ufeff"SEP=|"\r\n' + text.replace(",", "|").replace("\n", "\r\n"),
    ],
)
def test_dialects_of_csv_are_accepted(kaggle: Callable[..., Path], spoil: Callable[[str], str]) -> None:
    folder = kaggle()
    (folder / "train.csv").write_bytes(spoil("\n".join(TRAIN) + "\n").encode())
    table = scanned(folder)
    assert table[["fname", "label"]].to_numpy().tolist() == [row.split(",") for row in TRAIN[1:]]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_names(kaggle: Callable[..., Path], form: str) -> None:
    """A table may compose an accent that the file name decomposes (macOS), and the other way round."""
    names = [unicodedata.normalize("NFC", "Größe 音 é.wav"), unicodedata.normalize("NFD", "Größe 音 é.wav")]
    name, other = names if form == "NFC" else names[::-1]
    assert name != other
    folder = kaggle([*TRAIN, f"{name},Flöte", "f.wav,Flöte"])
    write_clip(folder / "audio_train" / other, 50)
    write_clip(folder / "audio_train" / "f.wav", 51)
    row = scanned(folder).set_index("fname").loc[name]
    assert row["label"] == "Flöte"
    assert (folder / row["path"]).is_file()


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([], ["table is empty", "train.csv"]),
        (["fname,label"], ["table has no rows", "train.csv"]),
        (["file,class", "a.wav,Cello"], ["column fname and label missing (found: file, class)"]),
        (["fname,klass", "a.wav,Cello"], ["column label missing"]),
        (["fname,label,label", "a.wav,Cello,Oboe"], ["column twice: label"]),
        ([*TRAIN, "a.wav,Oboe"], ["fname twice", "train.csv line 6: a.wav (also train.csv line 2)"]),
        ([*TRAIN, "e.wav,Oboe"], ["audio_train/e.wav: file is missing", "dataset.bad_clips to skip"]),
        ([*TRAIN, ",Oboe"], ["row without fname", "train.csv line 6"]),
        ([*TRAIN, "e.wav"], ["another number of fields than the header", "line 6: 1 fields, header 2"]),
        ([*TRAIN[:4], "d.wav,"], ["audio_train/d.wav: label is blank"]),
        ([*TRAIN[:4], "d.wav,None"], ["audio_train/d.wav: label is None"]),
        ([*TRAIN[:4], "d.wav,model"], ["label is a word that the pipeline's tables use"]),
        ([*TRAIN, "../../x.wav,Oboe"], ["leads outside the dataset folder", "line 6: ../../x.wav"]),
        ([*TRAIN, "/etc/passwd,Oboe"], ["leads outside"]),
        ([*TRAIN, "..\\x.wav,Oboe"], ["leads outside"]),
        ([*TRAIN, "C:\\x.wav,Oboe"], ["leads outside"]),
        ([*TRAIN, '"x\0.wav",Oboe'], ["leads outside"]),
        ([*TRAIN, '"x\ry.wav",Oboe'], ["control characters"]),
        ([*TRAIN, f"{'x' * 5000}.wav,Oboe"], ["file is missing"]),
        (["fname,label,fold", "a.wav,Cello,x", "b.wav,Oboe,"], ["fold is not a number", "a.wav: 'x'", "b.wav: ''"]),
        (["fname,label,group", "a.wav,Cello,x", "b.wav,Oboe,"], ["group is blank", "line 3: b.wav"]),
        (["fname,label,manually_verified", "a.wav,Cello,2", "b.wav,Oboe,0"], ["neither 0 nor 1", "a.wav: '2'"]),
    ],
)
def test_table_problems(kaggle: Callable[..., Path], lines: list[str], parts: list[str]) -> None:
    text = problems(kaggle(lines))
    for part in parts:
        assert part in text


def test_table_that_is_no_text(kaggle: Callable[..., Path]) -> None:
    folder = kaggle()
    (folder / "train.csv").write_bytes(b"fname,label\na.wav,Fl\xf6te\n")
    assert "table is not UTF-8 text (byte 20)" in problems(folder)
    (folder / "train.csv").write_bytes(b'fname,label\n"' + b"x" * 200_000)
    assert "cannot be read as CSV" in problems(folder)


def test_missing_table_folder_dataset_and_layout(kaggle: Callable[..., Path], tmp_path: Path) -> None:
    folder = kaggle()
    (folder / "train.csv").unlink()
    assert "table missing" in problems(folder)
    (tmp_path / "empty").mkdir()
    assert "has no layout known here (found: nothing)" in problems(tmp_path / "empty")
    (tmp_path / "empty" / "list.csv").write_text("a")
    assert "(found: list.csv)" in problems(tmp_path / "empty")
    assert re.search("does not exist.*dataset.path", problems(tmp_path / "nowhere"))
    assert "cannot be read: Not a directory" in problems(tmp_path / "empty" / "list.csv")
    (folder / "train.csv").write_text("\n".join(TRAIN))
    (folder / "test.csv").write_text("fname\nx.wav\n")
    assert "folder of clips missing" in problems(folder)


def test_everything_is_told_at_once(kaggle: Callable[..., Path]) -> None:
    rows = ["a.wav,Oboe", "gone.wav,Oboe", "../x.wav,Oboe", "bad.wav,Oboe", "c.wav,Oboe,Oboe"]
    folder = kaggle([*TRAIN, *rows], test=["fname,usage", "x.wav,Secret", "x.wav,Public"])
    (folder / "audio_train" / "bad.wav").write_text("no audio")
    text = problems(folder)
    assert "7 problems" in text
    for part in ("fname twice", "gone.wav", "../x.wav", "bad.wav", "number of fields", "unknown usage", "'Secret'"):
        assert part in text


def test_extra_files_are_a_note(kaggle: Callable[..., Path]) -> None:
    index = scan(kaggle(clips="abcdef"))
    assert index.notes == ["audio_train/: 2 files are not in train.csv and are not used: e.wav, f.wav"]
    assert len(index.table) == 4
    [_, note] = scan(kaggle(test=["fname,label", "x.wav,Tuba"])).notes
    assert "no training clip has" in note and "Tuba" in note


# --- what may be opened ----------------------------------------------------------------------------------------------


def test_links_out_of_the_dataset_are_refused(kaggle: Callable[..., Path], tmp_path: Path) -> None:
    folder = kaggle([*TRAIN, "link.wav,Cello"], clips="abcd")
    write_clip(tmp_path / "secret.wav")
    (folder / "audio_train" / "link.wav").symlink_to(tmp_path / "secret.wav")
    assert "leads outside the dataset folder" in problems(folder)
    (folder / "audio_train" / "link.wav").unlink()
    (folder / "audio_train" / "link.wav").symlink_to("a.wav")
    assert len(scanned(folder)) == 5


def test_links_into_a_dvc_cache_are_followed(kaggle: Callable[..., Path], tmp_path: Path) -> None:
    folder = kaggle()
    cached = tmp_path / ".dvc/cache/files/md5/ab" / ("c" * 30)
    cached.parent.mkdir(parents=True)
    (folder / "audio_train" / "a.wav").rename(cached)
    (folder / "audio_train" / "a.wav").symlink_to(cached)
    assert len(scanned(folder)) == 4


def test_linked_table_and_linked_class_folder_are_refused(kaggle: Callable[..., Path], tmp_path: Path) -> None:
    folder = kaggle()
    (folder / "train.csv").rename(tmp_path / "elsewhere.csv")
    (folder / "train.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert "leads outside the dataset folder" in problems(folder)
    write_clips(tmp_path / "classes", "A/1.wav", "B/1.wav")
    write_clip(tmp_path / "C" / "1.wav")
    (tmp_path / "classes" / "C").symlink_to(tmp_path / "C")
    assert re.search(r"leads outside.*\n *C/$", problems(tmp_path / "classes"))


def test_a_folder_of_clips_that_its_owner_linked_is_read(kaggle: Callable[..., Path], tmp_path: Path) -> None:
    """And named; links to clips elsewhere, and links that somebody else made, are not followed."""
    folder, elsewhere = kaggle(), tmp_path / "disk" / "clips"
    elsewhere.parent.mkdir()
    (folder / "audio_train").rename(elsewhere)
    (folder / "audio_train").symlink_to(elsewhere)
    index = scan(folder)
    assert index.table["path"].tolist() == [f"audio_train/{name}.wav" for name in "abcd"]
    assert [note for note in index.notes if "audio_train/ is a symbolic link out of the dataset" in note]
    (tmp_path / "private").mkdir()
    (elsewhere / "a.wav").rename(tmp_path / "private" / "a.wav")
    (elsewhere / "a.wav").symlink_to(tmp_path / "private" / "a.wav")
    assert re.search(r"leads outside.*\n *train\.csv line 2: a\.wav$", problems(folder))
    if os.geteuid() == 0:
        os.chown(folder / "audio_train", 12345, 12345, follow_symlinks=False)
        assert re.search(r"leads outside.*\n *audio_train/$", problems(folder))


def test_folders_that_systems_make_are_no_classes(tmp_path: Path) -> None:
    for number, name in enumerate(("A/1", "A/2", "B/1", "B/2", "__MACOSX/A/1", "@eaDir/x", "A/@eaDir/1", "B/._1")):
        write_clip(tmp_path / f"{name}.wav", number)
    index = scan(tmp_path)
    assert index.table["path"].tolist() == ["A/1.wav", "A/2.wav", "B/1.wav", "B/2.wav"]
    assert not [note for note in index.notes if "not used" in note]


@pytest.mark.parametrize("twin", ["CELLO", "Cel\u200blo", "Cello\ufe0f", "Cello\u3164", "\uff23ello"])
def test_labels_that_look_alike_are_a_note(kaggle: Callable[..., Path], twin: str) -> None:
    notes = scan(kaggle([*TRAIN[:2], f"b.wav,{twin}", *TRAIN[3:]])).notes
    assert [note for note in notes if f"different labels: 'Cello' and {twin!r}" in note]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to waits for ever."""
    write_clip(tmp_path / "A" / "1.wav")
    write_clip(tmp_path / "B" / "1.wav")
    os.mkfifo(tmp_path / "A" / "pipe.wav")
    assert "A/pipe.wav: is not a regular file" in problems(tmp_path)


def test_undecodable_file_names_are_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "A" / "1.wav")
    write_clip(tmp_path / "B" / "1.wav")
    (tmp_path / "A" / "1.wav").rename(tmp_path / "A" / os.fsdecode(b"\xff.wav"))
    text = problems(tmp_path)
    assert "name is not UTF-8" in text
    text.encode()  # can be printed


def test_folders_inside_data_are_those_of_sources_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for inside in ("data", "data/mine", "data/demo/inner", "./data/../data/mine"):
        for path in (inside, tmp_path / inside):
            with pytest.raises(FsatError, match=r"belongs to the pipeline.*`mv .* sounds`"):
                layouts.refuse_inside(path, "data", allowed=["data/demo"])
    for outside in ("data/demo", "data/demo/", "sounds", "database", "../data", "/srv/data"):
        layouts.refuse_inside(outside, "data", allowed=["data/demo"])


# --- bad clips -------------------------------------------------------------------------------------------------------


def test_bad_training_clips_are_skipped_on_request(kaggle: Callable[..., Path]) -> None:
    folder = kaggle([*TRAIN, "gone.wav,Oboe", "text.wav,Oboe", "nolabel.wav,"])
    (folder / "audio_train" / "text.wav").write_text("no audio")
    write_clip(folder / "audio_train" / "nolabel.wav")
    assert "3 problems" in problems(folder)
    index = scan(folder, bad_clips="skip")
    assert index.table["fname"].tolist() == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert index.facts["train"]["bad"] == 3
    assert "3 bad training clips are skipped" in index.notes[0]
    assert "gone.wav: file is missing" in index.notes[0]


def test_skipping_does_not_hide_a_broken_table(kaggle: Callable[..., Path]) -> None:
    assert "fname twice" in problems(kaggle([*TRAIN, "a.wav,Oboe"]), bad_clips="skip")
    assert "one label only" in problems(kaggle([*TRAIN[:3], "gone.wav,Oboe"]), bad_clips="skip")


def test_bad_test_clips_keep_their_row(kaggle: Callable[..., Path]) -> None:
    folder = kaggle(test=["fname,label", "x.wav,Cello", "gone.wav,Oboe", "text.wav,Oboe"])
    (folder / "audio_test" / "text.wav").write_text("no audio")
    index = scan(folder)
    test = index.table[index.table["split"] == "test"].set_index("fname")
    assert test.index.tolist() == ["gone.wav", "text.wav", "x.wav"]
    assert test.loc["gone.wav", "problem"] == "file is missing"
    assert test.loc["text.wav", "problem"] != ""
    assert test["seconds"].isna().tolist() == [True, True, False]
    assert index.facts["test"]["bad"] == 2
    assert "2 test clips cannot be read" in index.notes[0]


# --- licences and leakage --------------------------------------------------------------------------------------------


def test_licences_are_counted_and_excluded(kaggle: Callable[..., Path]) -> None:
    licences = ["CC0", "CC0", "Attribution-NonCommercial", ""]
    rows = [f"{row},{licence}" for row, licence in zip(TRAIN[1:], licences, strict=True)]
    folder = kaggle(["fname,label,license", *rows])
    assert scan(folder).facts["licenses"]["train"] == {"Attribution-NonCommercial": 1, "CC0": 2, "unknown": 1}
    assert len(scan(folder, exclude_licenses=["Attribution"]).table) == 4
    index = scan(folder, exclude_licenses=["attribution-noncommercial", "GPL"])
    assert index.table["fname"].tolist() == ["a.wav", "b.wav", "d.wav"]
    assert index.facts["train"]["excluded"] == 1
    assert "no training clip has the licence 'GPL'" in index.notes[0]
    assert "1 training clips are left out" in index.notes[1]


def test_test_clips_that_are_in_train_are_named(kaggle: Callable[..., Path]) -> None:
    folder = kaggle(
        ["fname,label,freesound_id", *(f"{row},{i}" for i, row in enumerate(TRAIN[1:]))],
        test=["fname,label,freesound_id", "x.wav,Oboe,2", "a.wav,Oboe,77", "copy.wav,Oboe,78", "fresh.wav,Oboe,79"],
    )
    write_clip(folder / "audio_test" / "a.wav", 200)
    write_clip(folder / "audio_test" / "copy.wav", 1)  # the bytes of b.wav
    write_clip(folder / "audio_test" / "fresh.wav", 201)
    index = scan(folder)
    assert index.notes == [
        "test clip a.wav is also in train: a.wav (same name)",
        "test clip copy.wav is also in train: b.wav (same bytes)",
        "test clip x.wav is also in train: c.wav (same freesound_id 2)",
    ]
    assert index.facts["test_also_in_train"] == {"clips": 3, "fname": 1, "freesound_id": 1, "bytes": 1}


# --- duplicates in the training set, marks, lengths, workers elsewhere -----------------------------------------------


def test_equal_training_clips_are_a_note_and_a_problem_if_their_labels_differ(kaggle: Callable[..., Path]) -> None:
    """A note where bad clips are skipped."""
    folder = kaggle([*TRAIN, "e.wav,Cello"])
    write_clip(folder / "audio_train" / "e.wav", 0)  # the bytes of a.wav
    (note,) = scan(folder).notes
    assert "1 training clips have the bytes of another" in note and "a.wav = e.wav" in note and "`group`" in note
    text = problems(kaggle([*TRAIN, "e.wav,Oboe"]))
    assert "same bytes and different labels" in text
    assert "audio_train/a.wav (Cello), audio_train/e.wav (Oboe)" in text
    found = scan(folder, bad_clips="skip")
    assert len(found.table) == 5
    assert any("same bytes and different labels" in note and "skip lets pass" in note for note in found.notes)


@pytest.mark.parametrize(
    ("columns", "values", "noted"),
    [
        ("freesound_id", ["1", "1", "2", "3"], True),
        ("freesound_id,group", ["1,x", "1,x", "2,y", "3,z"], False),
        ("freesound_id,group", ["1,x", "1,y", "2,y", "3,z"], True),
        ("freesound_id,fold", ["1,0", "1,1", "2,0", "3,1"], True),
        ("freesound_id,fold", ["1,0", "1,0", "2,1", "3,1"], False),
        ("freesound_id", ["1", "2", "3", ""], False),
    ],
)
def test_a_recording_in_two_folds_is_a_note(
    kaggle: Callable[..., Path], columns: str, values: list[str], noted: bool
) -> None:
    rows = [f"{row},{value}" for row, value in zip(TRAIN[1:], values, strict=True)]
    notes = scan(kaggle([f"fname,label,{columns}", *rows])).notes
    expected = ["1 training clips have the freesound_id of another"] if noted else []
    assert [note.split(",")[0] for note in notes] == expected


def test_long_clips_are_noted_with_the_memory_they_need() -> None:
    seconds = pd.array([1.0, LONG_CLIP_S, 3600.0, None], dtype="Float64")
    (note,) = _notes_on_length(pd.DataFrame({"fname": list("abcd"), "seconds": seconds}))
    assert "1 clips are longer than 20 minutes" in note and "about 1800 MB" in note and note.endswith(": c")


def test_a_worker_in_another_folder_finds_the_clips(
    kaggle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(probe: Callable[[Path], object], paths: list[Path], **_: object) -> list[object]:
        with contextlib.chdir("/"):
            return list(map(probe, paths))

    kaggle()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parallel, "map_clips", elsewhere)
    assert set(scan("sounds").table["problem"]) == {""}
