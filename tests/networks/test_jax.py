"""Training and prediction under JAX: the same numbers as under TensorFlow. Needs the extra: pip install -e ".[jax]"."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason='JAX is not installed: pip install -e ".[jax]"'
)

# In float64: fifty batch normalisations of an untrained network blow float32's rounding up to 1e-3 in the loss, which
# would hide a difference of the arithmetic.
# Weights come from a file, as each backend draws its own initial weights. The first to run writes it.
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from conftest import augmentation, make_examples
from fsat.networks import model, prediction, backend, training
from fsat.inputs.passes import Passes, mean_outputs
from test_training import recipe

weights = Path(sys.argv[1])
backend.prepare(1, precision="float64")
network = model.build_network(
    backbone="MobileNetV2", width=0.35, batchnorm_momentum=0.9, n_mels=32, n_classes=2, n_components=3
)
if not weights.exists():
    network.save_weights(weights)
network.load_weights(weights)
some = make_examples([90 + 10 * clip for clip in range(16)], ["a", "b"] * 8, n_components=3, n_mels=32)
plan = recipe(
    augmentation(), epochs=(1, 1, 1), stage="stage2", bounds=(128, 128), batch_size=16, select="last",
    validation_lengths=1,
)
passes = Passes([128], 1)
before = mean_outputs(
    {"stage2": prediction.predictor(network)}, some, passes, n_labels=2, batch_size=16, key=(1, "predict"), name=""
)
history = training.train(network, some, some, plan, state=weights.with_suffix(sys.argv[2]))
import keras
assert keras.backend.backend() == sys.argv[2][1:]
print(json.dumps({"loss": history["loss"].tolist(), "before": np.asarray(before["stage2"].log_probabilities).tolist()}))
"""


def test_jax_gives_the_losses_and_predictions_of_tensorflow(tmp_path: Path) -> None:
    results = {}
    for backend in ("tensorflow", "jax"):
        here = Path(__file__).parent
        environment = os.environ | {
            "KERAS_BACKEND": backend,
            "JAX_ENABLE_X64": "1",
            "PYTHONPATH": f"{here}{os.pathsep}{here.parent}",
        }
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "initial.weights.h5"), f".{backend}"]
        # Whatever JAX was found through comes first.
        environment["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-3000:]
        results[backend] = json.loads(result.stdout.splitlines()[-1])
    ours, theirs = results["tensorflow"], results["jax"]
    assert theirs["loss"][0] == pytest.approx(ours["loss"][0], abs=1e-4)  # of the first batch, before any step
    for one, other in zip(ours["before"], theirs["before"], strict=True):
        assert other == pytest.approx(one, abs=1e-3)
