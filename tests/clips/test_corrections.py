"""Corrections of training labels: reading what people write, refusing what does not fit, applying the rest."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fsat.clips import corrections
from fsat.clips.corrections import Correction
from fsat.core.errors import FsatError

HEADER = "fname,action,label,by,why\n"


@pytest.fixture
def index() -> pd.DataFrame:
    """Twelve training clips of three labels, every fourth one verified, and one test clip."""
    rows = [
        ("train", f"{number:02d}.wav", ("Bark", "Cello", "Gong")[number % 3], number % 4 == 0) for number in range(12)
    ]
    table = pd.DataFrame(rows, columns=["split", "fname", "label", "verified"])
    table["verified"] = table["verified"].astype(float)
    test = pd.DataFrame({"split": ["test"], "fname": ["t.wav"], "label": ["Bark"], "verified": [np.nan]})
    return pd.concat([table, test], ignore_index=True)


def parsed(folder: Path, text: str | bytes) -> list[Correction]:
    path = folder / "corrections.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return corrections.read(path)


def message(folder: Path, index: pd.DataFrame, rows: str) -> str:
    with pytest.raises(FsatError) as caught:
        corrections.check(parsed(folder, HEADER + rows), index, path="corrections/x.csv")
    return str(caught.value)


def applied(index: pd.DataFrame, rows: list[Correction], *, weight: float = 1.0) -> pd.DataFrame:
    train = index[index["split"] == "train"]
    checked = corrections.check(rows, index, path="corrections/x.csv")
    return corrections.apply(train, np.arange(12) // 3 % 4, checked, unverified_weight=weight).set_index("fname")


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace("\n", "\n,,,,\n").encode(),
        lambda text: text.replace("é", "e\N{COMBINING ACUTE ACCENT}").encode(),
    ],
    ids=["utf-8", "bom, crlf", "cr", "empty rows", "decomposed"],
)
def test_what_spreadsheets_save_is_read(encode: Callable[[str], bytes], tmp_path: Path, index: pd.DataFrame) -> None:
    index.loc[0, "fname"] = "é.wav"
    text = HEADER + 'é.wav,relabel,Gong,eva,"hums: ""very"" deep"\n01.wav,drop,,,\n03.wav,Verify,Bark,eva,\n'
    rows = parsed(tmp_path, encode(text))
    found = corrections.check(rows, index, path="x")
    expected = [("é.wav", "relabel", "Gong"), ("01.wav", "drop", ""), ("03.wav", "verify", "Bark")]
    assert [(row.fname, row.action, row.label) for row in found] == expected
    assert found[0].why == 'hums: "very" deep'


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "table is empty"),
        (b"fname,label\n", "column action missing"),
        (HEADER.encode("utf-16"), "not UTF-8 text"),
        (HEADER.encode() + b"a.wav,delete,,,\n", "unknown action.*one of relabel, drop, verify"),
        (HEADER.encode() + b",drop,,,\n", "row without fname"),
        (b"fname,action,label,new label\na.wav,relabel,Gong,Bark\n", "unknown one"),
        (b"fname,action,label\n\0\n", "line 2|row with another"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(text: bytes, part: str, tmp_path: Path) -> None:
    with pytest.raises(FsatError) as caught:
        parsed(tmp_path, text)
    assert re.search(part, " ".join(str(caught.value).split())), caught.value


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match=r"does not exist.*echo fname,action,label,by,why"):
        corrections.read(tmp_path / "none.csv")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [
        Correction("a b.wav", "relabel", "Siren", by="eva", why='wails, "loud"', new=True),
        Correction("ü.wav", "drop"),
        Correction("None", "verify", "NA", by=corrections.MACHINE),
    ]
    path = tmp_path / "new" / "x.csv"
    corrections.write(path, rows)
    found = corrections.read(path)
    assert [replace(row, line="") for row in found] == rows
    first = path.read_bytes()
    corrections.write(path, found)
    assert path.read_bytes() == first


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ("99.wav,drop,,,\n", "unknown clip"),
        ("00.waw,drop,,,\n", "did you mean 00.wav?"),
        ("t.wav,drop,,,\n", "test clip"),
        ("00.wav,relabel,Gnog,,\n", "did you mean Gong?"),
        ("00.wav,relabel,gong,,\n", "unknown label"),
        ("00.wav,relabel,new:Gong,,\n", "said to be new but is not"),
        ("00.wav,relabel,new:fold,,\n", "new label that is a word"),
        ("00.wav,relabel,,,\n", "relabel without a label"),
        ("00.wav,relabel,Bark,,\n", "relabel that changes nothing"),
        ("00.wav,verify,,,\n", "verify that changes nothing"),
        ("01.wav,verify,Gong,,\n", "verify with another label"),
        ("01.wav,drop,Gong,,\n", "drop with another label"),
        ("01.wav,drop,,,\n01.wav,relabel,Gong,,\n", "two rows that contradict"),
        ("01.wav,drop,,,\n01.wav,drop,,other,\n", "two rows that say the same"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(rows: str, part: str, tmp_path: Path, index: pd.DataFrame) -> None:
    assert part in message(tmp_path, index, rows)


def test_everything_wrong_is_told_at_once_and_where_it_stands(tmp_path: Path, index: pd.DataFrame) -> None:
    rows = "99.wav,drop,,,\nt.wav,drop,,,\n01.wav,drop,,,\n00.wav,verify,,,\n03.wav,relabel,X,,\n"
    text = message(tmp_path, index, rows)
    assert text.startswith("corrections corrections/x.csv: 4 problems")
    parts = ("unknown clip", "test clip", "changes nothing", "unknown label", "line 2: 99.wav", "line 6: 03.wav: X")
    assert [part for part in parts if part not in text] == []


def test_a_thousand_rows_of_another_dataset_are_a_short_message(tmp_path: Path, index: pd.DataFrame) -> None:
    text = message(tmp_path, index, "".join(f"other{number}.wav,drop,,,\n" for number in range(1000)))
    assert "1000 problems" in text and "... and 980 more" in text and len(text.splitlines()) < 30
    assert "another dataset" in text


# --- applying --------------------------------------------------------------------------------------------------------


def test_no_correction_changes_nothing(index: pd.DataFrame) -> None:
    table = applied(index, [])
    assert (table["corrected"] == table["label"]).all() and (table["weight"] == 1).all()
    columns = "fname label corrected verified weight dropped fold"
    assert table.reset_index().columns.tolist() == columns.split()


def test_each_action_does_what_it_says_and_no_clip_changes_its_fold(index: pd.DataFrame) -> None:
    rows = [
        Correction("01.wav", "relabel", "Bark"),
        Correction("02.wav", "drop"),
        Correction("03.wav", "verify"),
        Correction("05.wav", "relabel", "Siren", new=True),
        Correction("10.wav", "relabel", "Siren", new=True),
    ]
    table, before = applied(index, rows, weight=0.25), applied(index, [], weight=0.25)
    assert table["fold"].equals(before["fold"]) and table["label"].equals(before["label"])
    assert list(table.loc["01.wav", ["corrected", "verified", "weight", "dropped"]]) == ["Bark", 1, 1.0, 0]
    assert list(table.loc["02.wav", ["corrected", "verified", "weight", "dropped"]]) == ["Gong", 0, 0.0, 1]
    assert list(table.loc["03.wav", ["corrected", "verified", "weight", "dropped"]]) == ["Bark", 1, 1.0, 0]
    assert table.loc["05.wav", "corrected"] == "Siren"
    others = table.drop(index=[row.fname for row in rows])
    assert others.equals(before.loc[others.index])
    assert others["weight"].tolist() == [1.0 if number % 4 == 0 else 0.25 for number in (0, 4, 6, 7, 8, 9, 11)]


def test_a_label_needs_clips_in_two_folds(index: pd.DataFrame) -> None:
    with pytest.raises(FsatError, match=r"fewer than two folds.*Siren \(1 clips\)"):
        applied(index, [Correction("01.wav", "relabel", "Siren", new=True)])
    with pytest.raises(FsatError, match=r"Gong \(1 clips\)"):
        applied(index, [Correction(f"{number:02d}.wav", "drop") for number in (2, 5, 8)])
    with pytest.raises(FsatError, match=r"unverified_weight"):
        applied(index.assign(verified=0.0), [], weight=0.0)


def test_own_rows_win_over_those_of_fsat_verify(index: pd.DataFrame) -> None:
    by = corrections.MACHINE
    machine = [Correction("01.wav", "drop", by=by), Correction("02.wav", "relabel", "Bark", by=by)]
    own = [Correction("01.wav", "verify", by="eva")]
    for rows in (own + machine, machine + own):
        found = corrections.check(rows, index, path="x")
        assert {row.fname: row.action for row in found} == {"01.wav": "verify", "02.wav": "relabel"}
    later = [Correction("01.wav", "relabel", "Gong", by=by), Correction("03.wav", "drop", by=by)]
    decided = ["01.wav", "02.wav", "03.wav"]
    assert corrections.merge(machine + own, later, decided=decided) == [*own, later[1]]
    # A clip that was not held out this time keeps its earlier row.
    assert corrections.merge(machine + own, later, decided=["01.wav", "03.wav"]) == [machine[1], *own, later[1]]


def test_labels_are_spelled_as_the_index_spells_them(tmp_path: Path, index: pd.DataFrame) -> None:
    index["label"] = index["label"].replace("Gong", "Temple_gong")
    rows = parsed(tmp_path, HEADER + "00.wav,relabel,Temple gong,,\n01.wav,relabel,new: Ship's horn,,\n")
    assert [row.label for row in corrections.check(rows, index, path="x")] == ["Temple_gong", "Ship's_horn"]
