"""Files appear whole or not at all, equal content gives equal bytes, and nothing is unpickled."""

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fsat.core import files
from fsat.core.errors import FsatError
from hostile import Hostile, hostile_pickle


def test_a_failed_write_leaves_the_earlier_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_text(path, "first\n")
    with pytest.raises(RuntimeError), files.atomic_file(path) as part:
        part.write_text("half")
        raise RuntimeError
    with pytest.raises(ValueError):
        files.write_json(path, {"x": float("nan")})
    assert path.read_text() == "first\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_folder_leaves_the_earlier_one_and_a_killed_process_disturbs_nothing(tmp_path: Path) -> None:
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "stale").touch()
    with files.atomic_folder(tmp_path / "out") as part:
        (part / "one").touch()
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "out") as part:
        (part / "two").touch()
        raise RuntimeError
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["one"]
    with files.atomic_folder(tmp_path / "out") as part:
        (part / "three").touch()
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["three"]


def test_a_link_under_the_name_that_is_written_to_is_not_followed(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "folder"
    other.write_text("mine")
    folder.mkdir()
    (folder / "mine").touch()
    for name in ("a.json", "out"):
        for target in (other, folder, tmp_path / "nothing"):
            (tmp_path / f".{name}.part").symlink_to(target)
            if name == "out":
                with files.atomic_folder(tmp_path / name) as part:
                    (part / "one").touch()
            else:
                files.write_json(tmp_path / name, 1)
    assert other.read_text() == "mine" and [path.name for path in folder.iterdir()] == ["mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "folder", "other", "out"]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    table = pd.DataFrame({"fname": ["a", "b"], "x": [0.1, 1 / 3]})
    for number in (1, 2):
        files.write_parquet(tmp_path / f"{number}.parquet", table.copy())
        files.write_npz(tmp_path / f"{number}.npz", b=np.arange(3), a=np.ones(2))
    for kind in ("parquet", "npz"):
        assert (tmp_path / f"1.{kind}").read_bytes() == (tmp_path / f"2.{kind}").read_bytes()


def test_csv_keeps_text_that_looks_like_something_else(tmp_path: Path) -> None:
    table = pd.DataFrame({"fname": ["001", "002", "003"], "label": ["None", "NA", "12"], "x": [1.5, None, 2.0]})
    files.write_csv(tmp_path / "t.csv", table)
    back = files.read_csv(tmp_path / "t.csv")
    assert back["fname"].tolist() == ["001", "002", "003"]
    assert back["label"].tolist() == ["None", "NA", "12"]
    assert back["x"].isna().tolist() == [False, True, False]


READERS = pytest.mark.parametrize("reader", [files.read_npz, files.read_csv, files.read_json, files.read_parquet])


@READERS
def test_a_pickle_in_place_of_a_file_is_refused_unopened(reader: Callable[[Path], object], tmp_path: Path) -> None:
    path, trap = tmp_path / "file", tmp_path / "sprung"
    path.write_bytes(hostile_pickle(trap))
    with pytest.raises(FsatError, match="cannot be read"):
        reader(path)
    np.savez(tmp_path / "objects.npz", x=np.array([Hostile(trap)], dtype=object))
    with pytest.raises(FsatError, match="cannot be read"):
        files.read_npz(tmp_path / "objects.npz")
    assert not trap.exists()


def zipped(header: bytes, body: bytes = b"", method: int = zipfile.ZIP_STORED) -> bytes:
    """An npz file with one array of format 1.0."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
    return stream.getvalue()


def header(shape: str, descr: str = "<f4") -> bytes:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def overlapping() -> bytes:
    """A thousand names of the same megabyte."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", bytes(1 << 20))
        archive.infolist().extend(archive.infolist() * 999)
        archive.start_dir = stream.tell()
        archive._didModify = True  # type: ignore[attr-defined]
    return stream.getvalue()


BOMB = header("(8000000,)"), bytes(32_000_000)
HOSTILE_NPZ = {
    "deflate": zipped(*BOMB, zipfile.ZIP_DEFLATED),
    "bzip2": zipped(*BOMB, zipfile.ZIP_BZIP2),
    "lzma": zipped(*BOMB, zipfile.ZIP_LZMA),
    "method": zipped(header("(1,)"), bytes(4)).replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\0\x63\0"
    ),
    "encrypted": zipped(header("(1,)"), bytes(4)).replace(b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\1"),
    "huge": zipped(header("(1 << 50,)".replace("1 << 50", str(1 << 50)))),
    "negative": zipped(header("(-1, -1)"), bytes(4)),
    "nothing a billion times": zipped(header("(1000000000,)", "|V0")),
    "deep": zipped(b"(" * 9000),
    "open": zipped(b"{'descr': '<f4', 'shape': ("),
    "long": zipped(header("(1,)") + b" " * 60_000, bytes(4)),
    "text": zipped(b"\xff" * 80),
    "checksum": zipped(header("(1,)"), b"abcd").replace(b"abcd", b"abce"),
    "overlapping": overlapping(),
}


@pytest.mark.parametrize("kind", HOSTILE_NPZ)
def test_a_hostile_npz_is_one_line_and_little_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(HOSTILE_NPZ[kind])
    tracemalloc.start()
    with pytest.raises(FsatError, match=r"x\.npz: cannot be read as npz arrays") as refused:
        files.read_npz(tmp_path / "x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 and "\n" not in str(refused.value) and len(str(refused.value)) < 500


@READERS
def test_a_missing_file_names_the_next_command(reader: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(FsatError, match="dvc repro"):
        reader(tmp_path / "nothing")
