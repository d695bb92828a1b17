"""The backend is chosen before Keras is imported, and of what TensorFlow says only known notes are dropped."""

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
    expected = {"KERAS_BACKEND": "jax", "KERAS_NNX_ENABLED": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
    for before, name in (({}, "jax"), ({"KERAS_BACKEND": ""}, "jax"), ({"KERAS_BACKEND": "jax"}, None)):
        monkeypatch.setattr(os, "environ", dict(before))
        keras_backend.use(name)
        assert os.environ == expected
    os.environ["KERAS_BACKEND"] = ""
    with pytest.raises(FsatError, match=r"runs on jax already, but train\.backend is tensorflow"):
        keras_backend.use()  # TensorFlow, where nothing asks for another
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


NOTES = b"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1796021467.530380   10075 port.cc:153] oneDNN custom operations are on. You may see slightly different
E0000 00:00:1796021478.304897   10075 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error (303)
"""


def test_known_notes_are_dropped_and_all_else_passes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other = b"W0000 00:00:1796021467.5  75 gpu_device.cc:23] Cannot dlopen some GPU libraries.\n\xff cause\n"
    with pytest.raises(ImportError), keras_backend._without_notes():
        os.write(2, NOTES + other)
        raise ImportError
    os.write(2, b"after\n")
    written = capfd.readouterr().err
    assert "GPU libraries.\n" in written and written.endswith("cause\nafter\n") and "cuInit" not in written
    monkeypatch.setenv("PATH", "")
    with keras_backend._without_notes():  # without grep nothing is dropped
        os.write(2, NOTES)
    assert capfd.readouterr().err == NOTES.decode()


@pytest.mark.slow
def test_the_last_words_of_a_process_that_aborts_are_seen() -> None:
    """TensorFlow ends a process by abort() after its message, so that no Python code runs any more."""
    code = (
        "import os, builtins\n"
        "real = builtins.__import__\n"
        "def dying(name, *rest, **more):\n"
        "    if name == 'tensorflow':\n"
        "        os.write(2, b'failed call to cuInit\\nF fatal: no memory\\n')\n"
        "        os.abort()\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = dying\n"
        "from fsat.core import keras_backend\n"
        "keras_backend.use('tensorflow')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and done.stderr.endswith("F fatal: no memory\n") and "cuInit" not in done.stderr
