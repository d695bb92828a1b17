"""Checkpoints are read without PyTorch, and nothing in them is executed."""

import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsat.core.errors import FsatError
from fsat.sources import torch_checkpoint
from hostile import hostile_pickle
from shared_data import SHARED, needs

CHECKPOINT = SHARED / "pretrained" / "mn04_as_mAP_432.pt"


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tuple_(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def tensor(
    *, key: str = "0", count: int = 6, offset: int = 0, size: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
    storage: str = "FloatStorage", function: tuple[str, str] = ("torch._utils", "_rebuild_tensor_v2"),
) -> bytes:  # fmt: skip
    """Opcodes of one tensor, as `torch.save` writes them."""
    reference = tuple_(text("storage"), global_("torch", storage), text(key), text("cpu"), number(count)) + b"Q"
    arguments = tuple_(reference, number(offset), tuple_(*map(number, size)), tuple_(*map(number, stride)))
    return global_(*function) + arguments + b"R"


def checkpoint(
    path: Path, *tensors: tuple[str, bytes], storages: dict[str, bytes] | None = None, then: bytes = b""
) -> Path:
    """A file with the named tensors in a dictionary."""
    items = b"".join(text(name) + value for name, value in tensors)
    data = b"\x80\x02" + global_("collections", "OrderedDict") + b")R(" + items + b"u" + then + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", data)
        for key, raw in (storages or {"0": np.arange(6, dtype="<f4").tobytes()}).items():
            archive.writestr(f"net/data/{key}", raw)
    return path


def test_a_tensor_of_plain_numbers_is_read(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "good.pt", ("w", tensor()), ("b", tensor(size=(3,), stride=(1,), offset=3)))
    found = torch_checkpoint.read(path)
    np.testing.assert_array_equal(found["w"], np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(found["b"], np.array([3, 4, 5], np.float32))
    assert found["w"].dtype == np.float32


@needs("pretrained/mn04_as_mAP_432.pt")
def test_the_published_checkpoint_is_read() -> None:
    tensors = torch_checkpoint.read(CHECKPOINT)
    assert tensors["classifier.5.weight"].shape == (527, 512) and tensors["features.0.0.weight"].shape == (8, 1, 3, 3)
    assert sum(value.size for value in tensors.values() if value.dtype == np.float32) == 993_439


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"function": ("os", "system")}, "os.system"),
        ({"storage": "HalfStorage"}, "torch.HalfStorage"),
        ({"stride": (1, 2)}, "one piece"),
        ({"offset": 1}, "one piece"),
        ({"offset": -1}, "other than numbers"),
        ({"size": (-2, 3)}, "other than numbers"),
        ({"count": 7}, "not as long as it says"),
        ({"key": "7"}, "damaged"),
    ],
)
def test_what_is_no_plain_tensor_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(FsatError) as caught:
        torch_checkpoint.read(checkpoint(tmp_path / "bad.pt", ("w", tensor(**changed))))
    message = str(caught.value)
    assert said in message and "\n" not in message and str(tmp_path) in message


def test_a_pickle_that_calls_something_calls_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("net/data.pkl", hostile_pickle(trap))
    with pytest.raises(FsatError, match="is refused, because its pickle"):
        torch_checkpoint.read(tmp_path / "bad.pt")
    assert not trap.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no zip at all",
        lambda data: data[: len(data) // 2],
        lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:],
    ],
    ids=["empty", "text", "truncated", "flipped"],
)
def test_a_damaged_file_is_one_clear_line(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "bad.pt", ("w", tensor()))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FsatError) as caught:
        torch_checkpoint.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [[1], {"w": 1.0}, {"w": {}}, {}.keys, OrderedDict([(1, None)])])
def test_something_other_than_named_tensors_is_refused(value: object, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(value, protocol=2))
    with pytest.raises(FsatError, match="is refused, because"):
        torch_checkpoint.read(tmp_path / "bad.pt")


def test_a_dictionary_with_attributes_is_read_without_them(tmp_path: Path) -> None:
    """As `torch.save` writes a `state_dict`: the versions of its modules are an attribute."""
    state = b"}" + text("_metadata") + global_("collections", "OrderedDict") + b")R" + b"sb"
    found = torch_checkpoint.read(checkpoint(tmp_path / "good.pt", ("w", tensor()), then=state))
    assert list(found) == ["w"]


FUNCTION = global_("torch._utils", "_rebuild_tensor_v2")
DOUBLED = tuple_(text("x")) + b"q\x00" + (b"h\x00h\x00\x86q\x00" * 200)
BAD = {
    "changes the reader": FUNCTION + b"N}" + text("__defaults__") + tuple_(number(1)) + b"s\x86b",
    "changes a type": global_("torch", "FloatStorage") + b"}" + text("name") + number(1) + b"sb",
    "calls a tensor": tensor() + b")R",
    "memo far away": number(1) + b"r\xff\xff\xff\x7f" + b"0",
    "key of two to the 200": b"}" + DOUBLED + number(1) + b"s",
    "size of many axes": tensor(size=(1,) * 3000, stride=(1,) * 3000),
    "name of a storage": tensor(key="k" * 100_000),
    "storage named by a tuple": tuple_(
        text("storage"), global_("torch", "FloatStorage"), DOUBLED, text("cpu"), number(6)
    )
    + b"Q",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_hostile_pickle_is_one_line_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "bad.pt", ("w", BAD[kind]))
    tracemalloc.start()
    with pytest.raises(FsatError) as caught:
        torch_checkpoint.read(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    test_a_tensor_of_plain_numbers_is_read(tmp_path)


def test_memory_is_bounded_by_the_size_of_the_file(tmp_path: Path) -> None:
    """A thousand tensors of one megabyte; the same, compressed."""
    storages = {"0": bytes(1 << 20)}
    one = tensor(count=1 << 18, size=(1 << 18,), stride=(1,))
    path = checkpoint(tmp_path / "many.pt", *((f"w{k}", one) for k in range(1000)), storages=storages)
    tracemalloc.start()
    assert len(torch_checkpoint.read(path)) == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * path.stat().st_size
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as small:
        for name in archive.namelist():
            small.writestr(name, archive.read(name))
    with pytest.raises(FsatError, match="compressed"):
        torch_checkpoint.read(tmp_path / "x.pt")
