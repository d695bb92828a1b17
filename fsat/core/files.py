"""Reading and writing files so that they are whole, byte-stable and free of code.

Whatever is written appears under its final name by one rename, so that a killed process leaves no half file there.
Whatever is read is data: arrays are loaded with ``allow_pickle=False``.
"""

import io
import json
import math
import os
import shutil
import stat
import struct
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fsat.core.errors import FsatError

if TYPE_CHECKING:  # takes half a second to import: only who reads or writes tables pays for it
    import pandas as pd

# In a dataset's folder: its clips are synthesised, and scores on them are marked as such.
SYNTHETIC_MARK = "SYNTHETIC.txt"
# What json, zipfile and NumPy raise for damaged and hostile files.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, EOFError, OverflowError, RuntimeError, MemoryError, SyntaxError),
    *(zipfile.BadZipFile, struct.error, tokenize.TokenError),
)
_LARGEST_JSON = 1 << 24  # bytes; the pipeline's have some thousands


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is renamed to `path`, on failure removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    new_file(part)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def new_file(path: Path) -> None:
    """Make an empty file in place of whatever has its name: what a link there points to stays as it is."""
    _remove(path)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def try_writing(path: Path) -> None:
    """Raise the `OSError` that would keep `atomic_file` from writing a file there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    new_file(part)
    part.unlink()


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success it takes the place of `path`, on failure it goes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    _remove(part)
    part.mkdir()
    try:
        yield part
        shutil.rmtree(path, ignore_errors=True)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _read_as(kind: str, path: str | Path) -> Iterator[None]:
    """Turn errors of reading an output of the pipeline into one message."""
    try:
        yield
    except _UNREADABLE as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise FsatError(f"{path}: cannot be read as {kind} ({why}). Run `dvc repro` to make it again.") from error


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading; `OSError` also if it is a pipe or a device, which could block for ever."""
    stream = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(0, "not a regular file")
    return stream


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends."""
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, indented, in the order given; NaN is refused because JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; `FsatError` if it is missing or broken."""
    with _read_as("JSON", path), open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > _LARGEST_JSON:
            raise ValueError(f"larger than {_LARGEST_JSON} bytes")
        return json.loads(stream.read(_LARGEST_JSON).decode("utf-8"))


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV: UTF-8, ``\\n`` line ends, no row numbers."""
    with atomic_file(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file as DVC does; `FsatError` if it cannot be read or is no YAML."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FsatError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise FsatError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    return parse_yaml(text, where=str(path))


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML 1.2 by the parser of DVC, ruamel.yaml's in C; `FsatError` names `where` if it is no YAML."""
    try:  # not part of the light install, which reads no parameters
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError
    except ModuleNotFoundError as error:
        raise FsatError(f"{where}: reading it needs ruamel.yaml: run `make setup`.") from error
    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise FsatError(f"{where}: is not YAML: {problem}{line}.") from error
    except YAMLError as error:
        raise FsatError(f"{where}: is not YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, KeyError, AttributeError, TypeError, IndexError, OverflowError, RecursionError) as error:
        # Constructors of scalars leak these for values such as `!!bool x` or a date of month 99.
        raise FsatError(f"{where}: holds a value that YAML cannot read ({type(error).__name__}: {error}).") from error


# Names and labels stay text, also where they look like numbers.
_TEXT = ("split", "fname", "path", "label", "corrected", "usage", "group", "license", "problem")


def read_csv(path: str | Path) -> "pd.DataFrame":
    """Read one of the project's own CSV files; only an empty field is a missing value ("None" and "NA" are strings)."""
    import pandas as pd

    with _read_as("CSV", path):
        return pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values=[""])


def write_parquet(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table as Parquet with fixed settings, so that equal tables give equal bytes."""
    with atomic_file(path) as part:
        table.to_parquet(part, engine="pyarrow", index=False, compression="zstd")


def read_parquet(path: str | Path) -> "pd.DataFrame":
    """Read one of the project's own Parquet files; `FsatError` if it is missing or broken."""
    import pandas as pd

    with _read_as("Parquet", path):
        return pd.read_parquet(path, engine="pyarrow")


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays, uncompressed; equal arrays give equal bytes."""
    with atomic_file(path) as part, part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_npz(path: str | Path, content: bytes | None = None) -> dict[str, np.ndarray]:
    """Read named arrays, from `content` where the file's bytes were read and checked already.

    They take no more memory than the file has bytes: members must be uncompressed, as `write_npz` writes them, and
    arrays as long as their headers say. `FsatError` if that is not so, or the file is missing, broken or would need
    pickle.
    """
    with _read_as("npz arrays", path):
        stream = open_regular(path) if content is None else io.BytesIO(content)
        with stream, zipfile.ZipFile(stream) as archive:
            check_stored(archive)
            return {item.filename.removesuffix(".npy"): _read_array(archive, item) for item in archive.infolist()}


def check_stored(archive: zipfile.ZipFile) -> None:
    """`ValueError` if members of a zip are compressed, or together larger than the file."""
    members, stream = archive.infolist(), archive.fp
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its members are compressed")
    if stream is None or sum(member.file_size for member in members) > stream.seek(0, os.SEEK_END):
        raise ValueError("its members are larger than the file")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one array, after a look at its header."""
    with archive.open(member) as stream:
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(stream)
        if version not in readers:
            raise ValueError(f"array format {version}")
        shape, _, dtype = readers[version](stream)
        if dtype.hasobject:
            raise ValueError("it would need pickle")
        if not dtype.itemsize or math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
            raise ValueError(f"{member.filename} is not as long as its header says")
    with archive.open(member) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        return array
