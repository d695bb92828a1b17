"""AudioSet's table of labels: read whole, or refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fsat.core.errors import FsatError
from fsat.sources import audioset_labels
from shared_data import SHARED, needs

TABLE = SHARED / "pretrained" / "audioset_class_labels_indices.csv"
HARD = 'Whistle, "wolf"'


def lines() -> list[str]:
    names = [f'"Sound, kind {number}"' for number in range(526)] + ['"Whistle, ""wolf"""']
    return ["index,mid,display_name", *(f"{number},/m/{number},{name}" for number, name in enumerate(names))]


def test_names_keep_their_commas_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    names = audioset_labels.read(path)
    assert len(names) == 527 and names[3] == "Sound, kind 3" and names[-1] == HARD
    path.write_bytes("\r\n".join(lines()).encode())
    assert audioset_labels.read(path) == names


@needs("pretrained/audioset_class_labels_indices.csv")
def test_the_published_table() -> None:
    names = audioset_labels.read(TABLE)
    assert (names[0], names[72], names[526]) == ("Speech", "Animal", "Field recording")
    assert "Child speech, kid speaking" in names and "Dental drill, dentist's drill" in names


def without(number: int) -> Callable[[list[str]], list[str]]:
    return lambda rows: [*rows[:number], *rows[number + 1 :]]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda rows: ["<!DOCTYPE html>", "<html><body>Sign in</body></html>"], "its first row is not index,mid"),
        (lambda rows: [], "its first row is not index,mid"),
        (lambda rows: rows[1:], "its first row is not index,mid"),
        (without(7), "row 8 is not that of label 6"),
        (without(527), "it has 526 labels"),
        (lambda rows: [*rows, '527,/m/x,"One more"'], "it has 528 labels"),
        (lambda rows: [*rows[:5], rows[6], rows[5], *rows[7:]], "row 6 is not that of label 4"),
        (lambda rows: [*rows[:-1], "526,/m/526"], "row 528 is not that of label 526"),
        (lambda rows: [*rows[:-1], '526,/m/526," "'], "label 526 has no name on one line"),
        (lambda rows: [*rows[:-1], '526,/m/526,"a\nb"'], "label 526 has no name on one line"),
        (lambda rows: [*rows[:-1], '526,/m/526,"Sound, kind 0"'], "names a label twice: Sound, kind 0"),
        (lambda rows: [*rows[:-1], '526,/m/526,"open'], "it is no CSV in UTF-8"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(
    damage: Callable[[list[str]], list[str]], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(damage(lines())), encoding="utf-8")
    with pytest.raises(FsatError) as caught:
        audioset_labels.read(path)
    message = str(caught.value)
    assert said in message and "\n" not in message


def test_other_bytes_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00" * 10)
    with pytest.raises(FsatError, match="it is no CSV in UTF-8"):
        audioset_labels.read(tmp_path / "labels.csv")
    with pytest.raises(FsatError, match="cannot be read"):
        audioset_labels.read(tmp_path / "none.csv")
