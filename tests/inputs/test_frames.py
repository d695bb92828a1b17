"""The frame store: what is written comes back, mapped and not copied."""

from pathlib import Path

import numpy as np
import pytest

from conftest import LIMITS
from fsat.core.errors import FsatError
from fsat.inputs import frames


def test_clips_come_back_as_written(tmp_path: Path) -> None:
    clips = {f"{number}.wav": np.random.default_rng(number).normal(size=(number + 1, 4)) for number in range(5)}
    frames.write_frames(tmp_path / "mel", iter(clips.items()), n_mels=4)
    store = frames.open_frames(tmp_path / "mel", limits=LIMITS)
    assert store.fnames == list(clips) and store.lengths.tolist() == [1, 2, 3, 4, 5]
    for fname, row in zip(clips, store.rows(clips), strict=True):
        start = store.starts[row]
        expected = clips[fname].astype(np.float32)
        np.testing.assert_array_equal(store.frames[start : start + store.lengths[row]], expected)
    assert isinstance(store.frames, np.memmap)
    with pytest.raises(FsatError, match=r"y\.wav"):
        store.rows(["y.wav"])
    frames.write_frames(tmp_path / "empty", [], n_mels=4)
    empty = frames.open_frames(tmp_path / "empty", limits=LIMITS)
    assert empty.frames.shape == (0, 4) and empty.fnames == []


@pytest.mark.parametrize("shape", [(0, 4), (3, 5), (3,)])
def test_frames_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x\.wav"):
        frames.write_frames(tmp_path / "mel", [("x.wav", np.zeros(shape))], n_mels=4)
    assert not (tmp_path / "mel").exists()


@pytest.mark.parametrize("rows", [[(0, 3), (4, 2)], [(3, 2), (0, 3)], [(0, 5), (5, 0)], [(0, 3), (3, 3)]])
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, rows: list[tuple[int, int]]) -> None:
    frames.write_frames(tmp_path / "mel", [("x.wav", np.zeros((3, 4))), ("y.wav", np.zeros((2, 4)))], n_mels=4)
    lines = [f"{name}.wav,{start},{length}" for name, (start, length) in zip("xy", rows, strict=True)]
    (tmp_path / "mel" / "index.csv").write_text("\n".join(["fname,start,n_frames", *lines]) + "\n")
    with pytest.raises(FsatError, match="do not belong together"):
        frames.open_frames(tmp_path / "mel", limits=LIMITS)
    np.save(tmp_path / "mel" / "frames.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(FsatError, match="cannot be read as an array"):
        frames.open_frames(tmp_path / "mel", limits=LIMITS)


def test_the_limits_become_zero_and_one() -> None:
    store = frames.FrameStore(np.zeros((1, 2)), ["a"], np.array([0]), np.array([1]), LIMITS)
    np.testing.assert_allclose(store.scale(np.array([-90.5, 39.21], np.float32)), [0, 1], atol=1e-6)
