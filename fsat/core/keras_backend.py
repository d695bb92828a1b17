"""Which backend Keras runs on, a parameter of the run, and Keras' defaults: others give other bytes."""

import os
import sys
from importlib.metadata import version

from fsat.core import processor
from fsat.core.errors import FsatError

# Keras reads this once, when it is imported.
VARIABLE = "KERAS_BACKEND"


def use(name: str, *, portable: bool = False) -> None:
    """Import Keras on a backend, with `set_defaults`; call this before anything else imports Keras.

    TensorFlow logs errors only, unless the environment sets TF_CPP_MIN_LOG_LEVEL.

    Parameters
    ----------
    name : str
        Parameter `train.backend`: "tensorflow" or "jax".
    portable : bool
        Parameter `train.portable`: whether TensorFlow uses AVX2 at most, and two threads, so that every x86-64
        processor computes the same; without effect on a TensorFlow that is imported already.

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
    os.environ |= {VARIABLE: name, "KERAS_NNX_ENABLED": "0"}
    if portable:
        processor.limit_networks()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" in sys.modules and (running := sys.modules["keras"].backend.backend()) != name:
        raise FsatError(f"Keras runs on {running} already, but train.backend is {name}.")
    set_defaults()


def set_defaults() -> None:
    """Give Keras back its own defaults: `~/.keras/keras.json`, which it reads when imported, may hold others."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")


def jax_version() -> str | None:
    """Version of JAX if Keras runs on it; versions.yaml pins TensorFlow alone."""
    import keras

    return version("jax") if keras.backend.backend() == "jax" else None
