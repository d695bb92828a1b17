"""AudioSet's table of labels, of which the checksum of the download tells that it is whole."""

from pathlib import Path

import pytest

from fsat.core.errors import FsatError
from fsat.sources import audioset_labels
from shared_data import SHARED, needs

TABLE = SHARED / "pretrained" / "audioset_class_labels_indices.csv"


def test_names_keep_their_commas_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    lines = ["index,mid,display_name", *(f'{number},/m/{number},"Sound, ""kind"" {number}"' for number in range(527))]
    path.write_text("\n".join(lines), encoding="utf-8")
    names = audioset_labels.read(path)
    assert len(names) == 527 and names[3] == 'Sound, "kind" 3'
    path.write_text("\n".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(FsatError, match="is not AudioSet's table of 527 labels"):
        audioset_labels.read(path)


@needs("pretrained/audioset_class_labels_indices.csv")
def test_the_published_table() -> None:
    names = audioset_labels.read(TABLE)
    assert (names[0], names[72], names[526]) == ("Speech", "Animal", "Field recording")
    assert "Child speech, kid speaking" in names and "Dental drill, dentist's drill" in names
