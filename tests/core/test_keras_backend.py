"""The backend is chosen before Keras is imported, and nothing that TensorFlow says is held back."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from fsat.core import keras_backend
from fsat.core.errors import FsatError

ROOT = Path(__file__).parents[2]


def test_another_backend_than_keras_has_or_is_told_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(FsatError, match="KERAS_BACKEND is jax but"):
        keras_backend.use("tensorflow")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(FsatError, match="runs on jax already"):
        keras_backend.use("tensorflow")


def test_the_environment_of_keras_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setitem(
        sys.modules, "keras", SimpleNamespace(backend=Mock(**{"backend.return_value": "jax"}), config=Mock())
    )
    keras_backend.use("jax")
    assert os.environ == {"KERAS_BACKEND": "jax", "KERAS_NNX_ENABLED": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
    monkeypatch.setattr(keras_backend, "version", "version of {}".format)
    assert keras_backend.jax_version() == "version of jax"


def test_what_keras_json_sets_is_set_back() -> None:
    """Keras reads the file when it is imported, by these functions."""
    import keras

    from fsat.networks import backend

    assert keras_backend.jax_version() is None
    for set_back in (lambda: keras_backend.use("tensorflow"), lambda: backend.prepare(1)):
        keras.config.set_floatx("float64")
        keras.config.set_epsilon(1e-3)
        keras.config.set_image_data_format("channels_first")
        set_back()
        assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
        assert keras.config.image_data_format() == "channels_last"


@pytest.mark.slow
def test_the_last_words_of_a_process_that_aborts_are_seen() -> None:
    """TensorFlow ends a process by abort() after its message, so that no Python code runs any more."""
    code = (
        "import os, builtins\n"
        "real = builtins.__import__\n"
        "def dying(name, *rest, **more):\n"
        "    if name == 'tensorflow':\n"
        "        os.write(2, b'F fatal: no memory\\n')\n"
        "        os.abort()\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = dying\n"
        "from fsat.core import keras_backend\n"
        "keras_backend.use('tensorflow')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "F fatal: no memory" in done.stderr
