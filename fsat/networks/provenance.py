"""What initial weights were trained on, and the head's first layer: kept in the weights file by its source.

They are an attribute and a group of the HDF5 file, which Keras leaves alone: they go where the file goes. A file
without the attribute counts as untrained.
"""

from pathlib import Path

import h5py
import numpy as np

from fsat.core.errors import FsatError

_ATTRIBUTE = "pretrained_on"
_HIDDEN = "published_head"
# Kernel (C, H) and bias (H,) of the dense layer that reads a trunk's pooled features.
Hidden = tuple[np.ndarray, np.ndarray]


def record(path: str | Path, pretrained_on: str, hidden: Hidden | None = None) -> None:
    """Note in a `.weights.h5` file the dataset that its weights were trained on, such as "AudioSet".

    `hidden` is the first layer of the head that was trained with them.
    """
    with h5py.File(path, "r+") as file:
        file.attrs[_ATTRIBUTE] = pretrained_on
        if hidden is not None:
            group = file.create_group(_HIDDEN)
            group["kernel"], group["bias"] = hidden


def pretrained_on(path: str | Path) -> str:
    """Dataset that a `.weights.h5` file notes that its weights were trained on, or ""; `FsatError` without file."""
    with _opened(path) as file:
        found = file.attrs.get(_ATTRIBUTE, "")
    return found if isinstance(found, str) else ""


def hidden(path: str | Path) -> Hidden | None:
    """The layer that `record` kept in a `.weights.h5` file, None where there is none; `FsatError` without file."""
    with _opened(path) as file:
        group = file.get(_HIDDEN)
        return None if group is None else (group["kernel"][()], group["bias"][()])


def _opened(path: str | Path) -> h5py.File:
    if not Path(path).is_file():
        raise FsatError(f"model.weights: {path} does not exist. Point it at a .weights.h5 file of the backbone.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise FsatError(f"model.weights: {path} is no .weights.h5 file ({reason}).") from error
