"""Log-mel frames of many clips as one memory-mapped array: ``frames.npy`` (total_frames, n_mels) and ``index.csv``."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError


@dataclass(frozen=True)
class FrameStore:
    """Log-mel spectrograms of n clips; memory-mapped, so every process shares one copy."""

    frames: np.ndarray  # float32 (total_frames, n_mels), one clip after the other
    fnames: list[str]
    starts: np.ndarray  # int64 (n,): first frame of each clip
    lengths: np.ndarray  # int64 (n,): frames of each clip, at least 1
    limits: tuple[float, float]  # values that a network reads as 0 and 1

    def scale(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Values of frames to about [0, 1], the range a network reads, in their dtype; `out` may be `values` itself."""
        low, high = self.limits
        shifted = np.subtract(values, np.float32(low), out=out)
        return np.divide(shifted, np.float32(high - low), out=out)

    def rows(self, fnames: Iterable[str]) -> np.ndarray:
        """Positions of the named clips, int64; `FsatError` names the first that is missing."""
        position = {fname: row for row, fname in enumerate(self.fnames)}
        try:
            return np.array([position[fname] for fname in fnames], dtype=np.int64)
        except KeyError as missing:
            raise FsatError(f"No mel frames for clip {missing}. Run `dvc repro mel`.") from missing


def write_frames(folder: str | Path, clips: Iterable[tuple[str, np.ndarray]], *, n_mels: int) -> None:
    """Write clips (fname, frames (n_frames, n_mels)) one by one, holding one at a time in memory."""
    import pandas as pd

    rows: list[tuple[str, int, int]] = []
    total = 0
    with files.atomic_folder(folder) as part:
        with (part / "frames.npy").open("wb") as stream:
            _write_npy_header(stream, shape=(0, n_mels))
            for fname, spectrogram in clips:
                array = np.ascontiguousarray(spectrogram, dtype="<f4")
                if array.ndim != 2 or array.shape[1] != n_mels or len(array) == 0:
                    raise ValueError(f"{fname}: frames of shape {array.shape}, expected (>= 1, {n_mels})")
                stream.write(array.data)
                rows.append((fname, total, len(array)))
                total += len(array)
            stream.seek(0)
            _write_npy_header(stream, shape=(total, n_mels))
        files.write_csv(part / "index.csv", pd.DataFrame(rows, columns=["fname", "start", "n_frames"]))


def _write_npy_header(stream: BinaryIO, *, shape: tuple[int, int]) -> None:
    """Write a header whose length does not depend on shape[0]: NumPy pads it so that an array can grow in place."""
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})


def open_frames(folder: str | Path, *, limits: tuple[float, float]) -> FrameStore:
    """Open what `write_frames` wrote, to be scaled by `limits`; `FsatError` if it is missing or broken."""
    folder = Path(folder)
    index = files.read_csv(folder / "index.csv")
    try:
        frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FsatError(f"{folder}/frames.npy: cannot be read as an array ({error}). Run `dvc repro mel`.") from error
    starts, lengths = index["start"].to_numpy(np.int64), index["n_frames"].to_numpy(np.int64)
    follow_on = (lengths >= 1).all() and np.array_equal(starts, np.cumsum(lengths) - lengths)
    if frames.ndim != 2 or frames.dtype != np.float32 or int(lengths.sum()) != len(frames) or not follow_on:
        raise FsatError(f"{folder}: frames.npy and index.csv do not belong together. Run `dvc repro mel`.")
    return FrameStore(frames, index["fname"].tolist(), starts, lengths, limits)
