"""The backend is chosen before Keras is imported, and nothing that TensorFlow says is held back."""

import os
import subprocess
import sys
from pathlib import Path

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
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    keras_backend.use("jax")
    assert os.environ == {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "2"}


@pytest.mark.slow
def test_the_last_words_of_a_process_that_aborts_are_seen() -> None:
    """TensorFlow ends a process by abort() after its message, so that no Python code runs any more."""
    code = (
        "from fsat.core import keras_backend\n"
        "keras_backend.use('tensorflow')\n"
        "import os, builtins\n"
        "real = builtins.__import__\n"
        "def dying(name, *rest, **more):\n"
        "    if name == 'tensorflow':\n"
        "        os.write(2, b'F fatal: no memory\\n')\n"
        "        os.abort()\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = dying\n"
        "import fsat.networks.model\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "F fatal: no memory" in done.stderr
