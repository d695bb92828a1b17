"""Mel filters: what they are for, their files, and the formula of style kaldi.

The stage `filters` writes them once; `mel`, `spectral` and the tagger read them, so that none of these imports librosa.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.params import Mel

SPECTRAL_MELS = 128  # mel bands of the spectral statistics


class Purpose(NamedTuple):
    """What mel filters are for."""

    style: str
    sample_rate: int  # Hz
    n_fft: int
    n_mels: int


def for_mel(settings: Mel) -> Purpose:
    """Purpose of the filters of the log-mel spectrograms."""
    return Purpose(settings.style, settings.sample_rate, settings.n_fft, settings.n_mels)


def for_spectral(sample_rate: int, n_fft: int) -> Purpose:
    """Purpose of the filters of the spectral statistics."""
    return Purpose("librosa", sample_rate, n_fft, SPECTRAL_MELS)


class BandGroup(NamedTuple):
    """Neighbouring mel bands and the few bins that they cover."""

    bands: slice
    bins: slice
    weights: np.ndarray  # float32 (n_bins, n_bands)


def grouped(bank: np.ndarray) -> list[BandGroup]:
    """Filters (1 + n_fft // 2, n_mels) in groups of 16 bands."""
    groups = []  # an eighth of the size: worker processes get them with every clip
    for first in range(0, bank.shape[1], 16):
        bands = slice(first, first + 16)
        used = np.flatnonzero(bank[:, bands].any(axis=1))
        bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        groups.append(BandGroup(bands, bins, np.ascontiguousarray(bank[bins, bands])))
    return groups


def dense(groups: Sequence[BandGroup], shape: tuple[int, int]) -> np.ndarray:
    """The filters of `grouped`, in one array of a shape (1 + n_fft // 2, n_mels)."""
    bank = np.zeros(shape, dtype=np.float32)
    for bands, bins, weights in groups:
        bank[bins, bands] = weights
    return bank


def kaldi(purpose: Purpose) -> np.ndarray:
    """Triangles of height 1, equally spaced on HTK's scale ``1127 ln(1 + f / 700)``: shape and dtype as of `read`."""
    edges = np.linspace(0, _htk_mel(MEL_STYLES["kaldi"].f_max_hz or purpose.sample_rate / 2), purpose.n_mels + 2)
    distance = edges - _htk_mel(np.fft.rfftfreq(purpose.n_fft, 1 / purpose.sample_rate))[:, None]
    width = np.diff(edges)
    return np.maximum(0, np.minimum(-distance[:, :-2] / width[:-1], distance[:, 2:] / width[1:])).astype(np.float32)


def _htk_mel(hz: float | np.ndarray) -> np.ndarray:
    return 1127 * np.log1p(np.asarray(hz) / 700)


def write(path: str | Path, bank: np.ndarray, purpose: Purpose) -> None:
    """Write filters (1 + n_fft // 2, n_mels) and what they are for."""
    files.write_npz(path, bank=bank, **{name: np.array(value) for name, value in purpose._asdict().items()})


def read(path: str | Path, purpose: Purpose, content: bytes | None = None) -> list[BandGroup]:
    """Read filters that `write` wrote for the same purpose, `grouped`; `content` as for `files.read_npz`.

    `FsatError` if they are for another purpose, or the file holds no filters.
    """
    arrays = files.read_npz(path, content)
    found = {name: arrays[name].item() for name in Purpose._fields if name in arrays and arrays[name].ndim == 0}
    if found != purpose._asdict():
        raise FsatError(f"{path}: holds mel filters for {found}, not for {purpose._asdict()}. Run `dvc repro`.")
    bank, shape = arrays.get("bank", np.zeros(0)), (1 + purpose.n_fft // 2, purpose.n_mels)
    if bank.shape != shape or bank.dtype != np.float32 or not 0 <= bank.min() <= bank.max() < np.inf:  # NaN fails it
        raise FsatError(f"{path}: has no mel filters of shape {shape}. Run `dvc repro` to make it again.")
    return grouped(bank)
