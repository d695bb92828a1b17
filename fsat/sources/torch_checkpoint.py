"""Tensors of a PyTorch checkpoint, read without PyTorch and without unpickling.

A checkpoint is a zip: a pickle that describes tensors, and a raw array a storage. Of the pickle's instructions the few
that `torch.save` writes for named tensors are followed here: they fill dictionaries, and call nothing but `_tensor`.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError

_DTYPES: dict[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_DICTIONARY, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
# The pickle of a network of a few hundred tensors has some tens of kilobytes.
_LARGEST_PICKLE = 1_000_000
_MOST_AXES = 8
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS_AND_TEXT = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _RefusedError(Exception):
    """The file holds something that no checkpoint of plain tensors has."""


def _follow(pickle: bytes, load_storage: Callable[[Any], np.ndarray]) -> Any:
    """What a pickle describes; functions and classes that it asks for are names here."""
    if len(pickle) > _LARGEST_PICKLE:
        raise _RefusedError("its pickle is too large")
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since(start: int) -> list[Any]:
        found = stack[start:]
        del stack[start:]
        return found

    for opcode, given, _ in pickletools.genops(pickle):
        name, argument = opcode.name, cast("Any", given)
        if name in _NUMBERS_AND_TEXT:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "GLOBAL":
            if argument not in {_DICTIONARY, _TENSOR, *_DTYPES}:
                raise _RefusedError(f"its pickle asks for {argument.replace(' ', '.')}")
            stack.append(argument)
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since(marks.pop())))
        elif name in _TUPLES:
            stack.append(tuple(since(len(stack) - _TUPLES[name])))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "BINPERSID":
            stack.append(load_storage(stack.pop()))
        elif name == "REDUCE":
            function, arguments = since(len(stack) - 2)
            stack.append(_called(function, arguments))
        elif name in ("SETITEM", "SETITEMS"):
            items = since(marks.pop() if name == "SETITEMS" else len(stack) - 2)
            if not isinstance(stack[-1], dict) or not all(isinstance(key, str) for key in items[::2]):
                raise _RefusedError("its pickle fills something other than a dictionary of names")
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BUILD":
            if not isinstance(stack[-2], dict):
                raise _RefusedError("its pickle sets attributes of something other than a dictionary")
            stack.pop()  # versions of the modules
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise _RefusedError(f"its pickle has the instruction {name}")
    [found] = stack
    return found


def _called(function: Any, arguments: Any) -> Any:
    """Result of a call: an empty dictionary, or a tensor."""
    if isinstance(function, str) and isinstance(arguments, tuple):
        if function == _DICTIONARY and not arguments:
            return {}
        if function == _TENSOR:
            return _tensor(*arguments)
    raise _RefusedError("its pickle calls something with other arguments than a tensor's")


def _storage_reader(archive: zipfile.ZipFile, folder: str) -> Callable[[Any], np.ndarray]:
    """Function that reads a storage by its description in the pickle, each once."""
    content = cache(archive.read)

    def load(pid: Any) -> np.ndarray:
        _, kind, key, _, count = pid if isinstance(pid, tuple) and len(pid) == 5 else [None] * 5
        if not (isinstance(kind, str) and kind in _DTYPES and isinstance(key, str)):
            raise _RefusedError("its pickle refers to something other than a storage")
        name, dtype = f"{folder}/data/{key}", _DTYPES[kind]
        if not isinstance(count, int) or archive.getinfo(name).file_size != count * dtype.itemsize:
            raise _RefusedError(f"its storage {key} is not as long as it says")
        return np.frombuffer(content(name), dtype)

    return load


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """A tensor of a storage; PyTorch's `_rebuild_tensor_v2` for tensors that lie in one piece."""
    are_tuples = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) <= _MOST_AXES
    numbers = [offset, *size, *stride] if are_tuples else [None]
    if not isinstance(storage, np.ndarray) or not all(isinstance(n, int) and 0 <= n <= 1 << 40 for n in numbers):
        raise _RefusedError("a tensor of it is described by something other than numbers")
    steps = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
    in_one_piece = all(length < 2 or n == step for length, n, step in zip(size, stride, steps, strict=True))
    n_values = math.prod(size)
    if not in_one_piece or offset > len(storage) - n_values:
        raise _RefusedError("a tensor of it does not lie in one piece in its storage")
    return storage[offset : offset + n_values].reshape(size)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors by name, float32 or int64, read-only, as ``torch.save(network.state_dict(), path)`` wrote them.

    They take no more memory than the file has bytes. `FsatError` if the file cannot be read, is damaged, or holds
    anything but a dictionary of plain tensors. Nothing in it is executed.
    """
    try:
        with files.open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            files.check_stored(archive)
            [name] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            pickle = archive.read(name)[: _LARGEST_PICKLE + 1]
            tensors = _follow(pickle, _storage_reader(archive, name.partition("/")[0]))
    except OSError as error:
        raise FsatError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except _RefusedError as error:
        raise FsatError(
            f"{path}: is refused, because {str(error)[:200]}. It is no checkpoint of plain tensors."
        ) from error
    except (zipfile.BadZipFile, RuntimeError, EOFError, LookupError, ValueError, TypeError, MemoryError) as error:
        # What zipfile and pickletools raise for damaged files.
        raise FsatError(
            f"{path}: is damaged or no PyTorch checkpoint ({type(error).__name__}: {str(error)[:200]})."
        ) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(value, np.ndarray) for key, value in tensors.items()
    ):
        raise FsatError(f"{path}: is refused, because it holds something other than named tensors.")
    return dict(tensors)
