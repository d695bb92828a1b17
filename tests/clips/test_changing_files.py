"""Files that change while they are read: an error of one line, or the sound of one state of the file."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile

from fsat.clips import audio, containers
from fsat.clips.container import Container

RATE = 16_000
BEFORE = np.random.default_rng(1).normal(0, 0.1, 5 * RATE).astype(np.float32)
AFTER = np.random.default_rng(2).normal(0, 0.1, 3 * RATE).astype(np.float32)
FORMATS = {"wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", None)}


def write(path: Path, x: np.ndarray) -> None:
    form, subtype = FORMATS[path.suffix[1:]]
    soundfile.write(path, x, RATE, format=form, subtype=subtype)


def same(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two signals are equal but for rounding, which in an MP3 depends on the size of blocks."""
    return len(x) == len(y) and np.allclose(x, y, atol=1e-6)


def replace_by_half(path: Path) -> None:
    """Another file under the same name, cut off: its header has to be checked, not that of the first one."""
    other = path.with_name(f"other{path.suffix}")
    write(other, AFTER)
    os.truncate(other, other.stat().st_size // 2)
    other.replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 3),
    "emptied": lambda path: path.write_bytes(b""),
    "continued": lambda path: path.write_bytes(path.read_bytes() + np.random.default_rng(3).bytes(50_000)),
    "overwritten": lambda path: write(path, AFTER),
    "removed": Path.unlink,
    "replaced": replace_by_half,
}


def at_moment(moment: int, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the file after its header was checked (-1), or before block `moment` is read."""
    n_read = 0
    check, plain = containers.examine, soundfile.SoundFile.read

    def checked(file: BinaryIO) -> Container:
        found = check(file)
        if moment == -1:
            change()
        return found

    def read(sound: soundfile.SoundFile, *args: Any, **options: Any) -> np.ndarray:
        nonlocal n_read
        if n_read == moment:
            change()
        n_read += 1
        return plain(sound, *args, **options)

    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 8_192)
    monkeypatch.setattr(containers, "examine", checked)
    monkeypatch.setattr(soundfile.SoundFile, "read", read)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("moment", [-1, 1])
def test_a_file_that_changes_is_refused_or_read_in_one_state(
    moment: int, change: Callable[[Path], object], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"clip.{suffix}"
    write(path, BEFORE)
    states = [audio.load(path, RATE)]
    change(path)
    if path.exists():
        with contextlib.suppress(audio.AudioError):
            states.append(audio.load(path, RATE))
    for read in (lambda: audio.load(path, RATE), lambda: np.concatenate(list(audio.stream(path, RATE)))):
        write(path, BEFORE)
        with monkeypatch.context() as patched:
            at_moment(moment, lambda: change(path), patched)
            try:
                found = read()
            except audio.AudioError as error:
                assert "\n" not in str(error)
            else:
                assert any(same(found, state) for state in states), len(found)


def test_a_file_that_never_stops_growing_is_read_as_long_as_it_was_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that leaves the size open, as recorders write it that cannot go back."""
    path = tmp_path / "growing.wav"
    write(path, BEFORE)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff\xff\xff\xff"
    content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    state = audio.load(path, RATE)
    plain = soundfile.SoundFile.read

    def read(sound: soundfile.SoundFile, *args: Any, **options: Any) -> np.ndarray:
        with path.open("ab") as stream:
            stream.write(BEFORE[:16_384].tobytes())
        return plain(sound, *args, **options)

    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 8_192)
    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    found: list[np.ndarray] = []
    with pytest.raises(audio.AudioError, match="changed while it was read"):
        found += audio.stream(path, RATE)
    np.testing.assert_array_equal(np.concatenate(found), state)
