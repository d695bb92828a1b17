"""The state of an unfinished training: kept after each epoch, resumed to the same bytes, one process at a time."""

import hashlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np

from fsat.core import files, loaded_code, processor
from fsat.core.errors import FsatError


@dataclass
class Progress:
    """Where a training stands between two epochs."""

    phase: int = 0
    epoch: int = 0  # epochs of this phase that are done
    phase_state: dict[str, Any] = field(default_factory=dict)  # its counters: rate, plateau, early end
    best_loss: float = math.inf  # lowest validation loss of this phase
    history: list[dict[str, Any]] = field(default_factory=list)  # a row an epoch


def keep(state: Path, model: keras.Model, best: list[np.ndarray], start: list[np.ndarray], progress: Progress) -> None:
    """Write all a training needs to go on: weights, optimiser, best weights so far, those after phase 0, counters."""
    optimizer = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    groups = {"weight": model.get_weights(), "best": best, "start": start, "optimizer": optimizer}
    arrays = {f"{name}{number:04d}": array for name, group in groups.items() for number, array in enumerate(group)}
    files.write_npz(state, progress=np.array(json.dumps(vars(progress))), **arrays)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Those of the optimiser, and states of the random generators of dropout, which `get_weights` leaves out."""
    weights = {id(variable) for variable in model.weights}
    states = [variable for variable in model.non_trainable_variables if id(variable) not in weights]
    return [*model.optimizer.variables, *states]


def restore(state: Path, model: keras.Model) -> tuple[Progress, list[np.ndarray], list[np.ndarray]]:
    """Put a model and its optimiser where `keep` left them; returns counters, best weights, those after phase 0."""
    arrays = files.read_npz(state)
    progress = Progress(**json.loads(str(arrays.pop("progress"))))
    groups: dict[str, list[np.ndarray]] = {"weight": [], "best": [], "start": [], "optimizer": []}
    for name in sorted(arrays):
        groups[name[:-4]].append(arrays[name])
    model.set_weights(groups["weight"])
    for variable, value in zip(_variables(model), groups["optimizer"], strict=True):
        variable.assign(value)
    return progress, groups["best"], groups["start"]


def fingerprint(inputs: Iterable[Path], numbers: object) -> str:
    """Hash of all that shapes a training: input files, numbers, library versions, limits of the processor, loaded code.

    The state of an unfinished training is kept under this name, so that a changed parameter, clip or line of code
    starts afresh.
    """
    digest = hashlib.blake2b(digest_size=16)
    main = getattr(sys.modules["__main__"], "__spec__", None)
    names = {*sys.modules, main.name if main else ""}
    code = [found for found in loaded_code.LOADED.items() if found[0].removesuffix(".py").replace("/", ".") in names]
    for path in inputs:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    backend = keras.backend.backend()
    versions = [version(name) for name in (backend, "keras", "numpy")]
    digest.update(repr((code, numbers, backend, versions, processor.used())).encode())
    return digest.hexdigest()


@contextmanager
def only_one(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of one stage and fold; `FsatError` says who holds it if it is taken.

    The lock ends with the process that holds it, also when that is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / f"{name}.owner"
    lock = filelock.FileLock(folder / f"{name}.lock", blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        holder = owner.read_text(encoding="utf-8").strip() if owner.is_file() else "another process"
        message = f"{name} is being trained by {holder}. Wait for it, or end it, and run `dvc repro` again."
        raise FsatError(message) from None
    try:
        owner.write_text(f"process {os.getpid()} on {os.uname().nodename}\n", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
