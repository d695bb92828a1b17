"""Which backend Keras runs on: a parameter of the run, because another one gives other bytes."""

import os
import sys

from fsat.core.errors import FsatError

# Keras reads this once, when it is imported.
VARIABLE = "KERAS_BACKEND"


def use(name: str) -> None:
    """Make Keras run on a backend; call this before anything imports Keras.

    TensorFlow logs errors only, unless the environment sets TF_CPP_MIN_LOG_LEVEL.

    Parameters
    ----------
    name : str
        Parameter `train.backend`: "tensorflow" or "jax".

    Raises
    ------
    FsatError
        If the environment asks for another backend, or Keras runs on another one already.
    """
    asked = os.environ.get(VARIABLE, name)
    if asked != name:
        raise FsatError(
            f"{VARIABLE} is {asked} but train.backend is {name}. Unset {VARIABLE}, or set train.backend to {asked}: "
            "the backend changes results, so it is a parameter of the run."
        )
    os.environ[VARIABLE] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" in sys.modules and (running := sys.modules["keras"].backend.backend()) != name:
        raise FsatError(f"Keras runs on {running} already, but train.backend is {name}.")
