"""Tensors of a PyTorch checkpoint, read without PyTorch and without executing what the file says.

A checkpoint is a zip: a pickle that describes tensors, and a raw array a storage. The pickle is read by an unpickler
that knows four names (an ordered dictionary, a rebuilt tensor and two storage types) and refuses every other one.
"""

import io
import pickle
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from fsat.core.errors import FsatError

_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
# The pickle of a network of a few hundred tensors has some tens of kilobytes.
_LARGEST_PICKLE = 10_000_000
_LARGEST_STORAGE = 1_000_000_000


class _RefusedError(Exception):
    """The file holds something that no checkpoint of plain tensors has."""


class _Unpickler(pickle.Unpickler):
    """Builds ordered dictionaries of NumPy arrays, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        if archive.getinfo(name).file_size > _LARGEST_PICKLE:
            raise _RefusedError("its pickle is too large")
        super().__init__(io.BytesIO(archive.read(name)))
        self.archive, self.folder = archive, name.partition("/")[0]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise _RefusedError(f"its pickle asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> np.ndarray:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], np.dtype)):
            raise _RefusedError("its pickle refers to something other than a storage")
        _, dtype, key, _, count = pid
        name = f"{self.folder}/data/{key}"
        if not isinstance(count, int) or not 0 <= count * dtype.itemsize <= _LARGEST_STORAGE:
            raise _RefusedError(f"its storage {key} has {count} numbers")
        if self.archive.getinfo(name).file_size != count * dtype.itemsize:
            raise _RefusedError(f"its storage {key} is not as long as it says")
        return np.frombuffer(self.archive.read(name), dtype)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """A tensor of a storage; PyTorch's `_rebuild_tensor_v2` for tensors that lie in one piece."""
    integers = isinstance(offset, int) and all(isinstance(n, int) and n >= 0 for n in (*size, *stride))
    if not isinstance(storage, np.ndarray) or not integers:
        raise _RefusedError("a tensor of it is described by something other than numbers")
    expected, steps = 1, []
    for length in reversed(size):
        steps.append(expected)
        expected *= length
    in_one_piece = all(length < 2 or n == step for length, n, step in zip(size, stride, reversed(steps), strict=True))
    if not in_one_piece or not 0 <= offset <= len(storage) - expected:
        raise _RefusedError("a tensor of it does not lie in one piece in its storage")
    return storage[offset : offset + expected].reshape(size).copy()


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors by name, float32 or int64, as ``torch.save(network.state_dict(), path)`` wrote them.

    `FsatError` if the file cannot be read, is damaged, or holds anything but a dictionary of plain tensors. Nothing in
    it is executed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            [name] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            tensors = _Unpickler(archive, name).load()
    except OSError as error:
        raise FsatError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except _RefusedError as error:
        raise FsatError(f"{path}: is refused, because {error}. It is no checkpoint of plain tensors.") from error
    except (
        *(zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, NotImplementedError, RuntimeError),
        *(EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, MemoryError),
    ) as error:
        # What zipfile and pickle raise for damaged files; see the documentation of `pickle.UnpicklingError`.
        raise FsatError(f"{path}: is damaged or no PyTorch checkpoint ({type(error).__name__}: {error}).") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(value, np.ndarray) for key, value in tensors.items()
    ):
        raise FsatError(f"{path}: is refused, because it holds something other than named tensors.")
    return dict(tensors)
