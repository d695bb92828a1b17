"""What initial weights were trained on: a note in the weights file, written by the source that made it.

The note is an attribute of the HDF5 file, which Keras leaves alone: it goes where the file goes, and a file without it
counts as untrained.
"""

from pathlib import Path

import h5py

from fsat.core.errors import FsatError

_ATTRIBUTE = "pretrained_on"


def record(path: str | Path, pretrained_on: str) -> None:
    """Note in a `.weights.h5` file the dataset that its weights were trained on, such as "AudioSet"."""
    with h5py.File(path, "r+") as file:
        file.attrs[_ATTRIBUTE] = pretrained_on


def pretrained_on(path: str | Path) -> str:
    """Dataset that a `.weights.h5` file notes that its weights were trained on, or ""; `FsatError` without file."""
    if not Path(path).is_file():
        raise FsatError(f"model.weights: {path} does not exist. Point it at a .weights.h5 file of the backbone.")
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get(_ATTRIBUTE, "")
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise FsatError(f"model.weights: {path} is no .weights.h5 file ({reason}).") from error
    return found if isinstance(found, str) else ""
