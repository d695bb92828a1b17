"""Which backend Keras runs on, a parameter of the run, and Keras' defaults: others give other bytes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from fsat.core import processor
from fsat.core.errors import FsatError

# Keras reads this once, when it is imported.
VARIABLE = "KERAS_BACKEND"
# What TensorFlow says of a machine without a GPU, whatever TF_CPP_MIN_LOG_LEVEL is.
_NOTES = (
    "^WARNING: All log messages before absl::InitializeLog|failed call to cuInit"
    "|^I0000 .*(oneDNN custom operations are on|Could not find cuda drivers)"
)


def use(name: str | None = None, *, portable: bool = False) -> None:
    """Import Keras on a backend, with `set_defaults`; call this before anything else imports Keras.

    The two are parameters of `train`; without a name it is the backend that the environment asks for, or TensorFlow.
    `portable` has no effect on a TensorFlow that is imported already. TensorFlow logs errors only, unless the
    environment sets TF_CPP_MIN_LOG_LEVEL. `FsatError` if the environment asks for another backend, or Keras runs on
    another one already.
    """
    asked = os.environ.get(VARIABLE) or name or "tensorflow"
    name = name or asked
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
    with _without_notes():
        set_defaults()
        if name == "tensorflow":
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for GPUs, and complains


@contextmanager
def _without_notes() -> Iterator[None]:
    """Drop `_NOTES` from what is written to standard error inside; all else passes, also when the process dies.

    Another process filters, as TensorFlow ends this one by abort() after its last words.
    """
    grep = shutil.which("grep")
    if grep is None:
        yield
        return
    command = [grep, "--line-buffered", "--invert-match", "--text", "--extended-regexp", _NOTES]
    sys.stderr.flush()
    kept = os.dup(2)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=kept) as reader:
        assert reader.stdin is not None  # noqa: S101 (for mypy)
        os.dup2(reader.stdin.fileno(), 2)
        reader.stdin.close()
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


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
