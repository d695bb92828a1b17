"""What `train.portable` costs on this processor, and what oneDNN gains where a processor has no AVX-512."""

import statistics
from typing import Any

from benchmarks.measuring import Row, python, row

# Wall times of a training step and of a prediction, in s.
CODE = """
import sys, time
from fsat.core import keras_backend, processor
processor.limit()
keras_backend.use("tensorflow", portable=sys.argv[1] == "true")
import numpy as np
from fsat.inputs.batches import Batch
from fsat.networks import backend, model
backend.prepare(1)
kind, width, clips, frames = sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
n_mels = 128 if kind == "EfficientAT" else 64
network = model.build_network(backbone=kind, width=width, batchnorm_momentum=0.9, n_mels=n_mels, n_classes=41)
network.compile(backend.adam(), "categorical_crossentropy")
network.optimizer.build(network.trainable_variables)
step, predict = backend.training_step(network), backend.predictor(network)
rng = np.random.default_rng(1)
batch = Batch(rng.random((clips, n_mels, frames, 1), np.float32), None, np.eye(41, dtype=np.float32)[:clips])
def seconds(call):
    times = []
    for _ in range(int(sys.argv[6]) + 2):
        started = time.perf_counter(); call(); times.append(time.perf_counter() - started)
    return sorted(times[2:])[len(times) // 2 - 1]
print(seconds(lambda: step(batch, np.ones(clips, np.float32))()), seconds(lambda: predict(batch.inputs)))
"""
OFF = {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "AVX2"}
DEMO = ("MobileNetV2", "0.35", "16", "380", "12")
LARGE = {
    "MobileNetV2 1.0, 32 clips": ("MobileNetV2", "1.0", "32", "512", "3"),
    "mn04, 16 clips": ("EfficientAT", "0.4", "16", "400", "5"),
}


def compared(ours: tuple[Any, ...], other: tuple[Any, ...], *, runs: int) -> list[tuple[float, float]]:
    """Medians of (ours, other) for a training step and a prediction; processes take turns. Each is `CODE`'s `portable`,
    its other arguments, and variables."""
    found = [[python(CODE, one[0], *one[1], **one[2]) for one in (ours, other)] for _ in range(runs)]
    return [
        (statistics.median(pair[0][number] for pair in found), statistics.median(pair[1][number] for pair in found))
        for number in (0, 1)
    ]


def all_rows(*, runs: int = 3) -> list[Row]:
    """The demo's network within the limits and without; larger ones within AVX2, with oneDNN and without."""
    rows = []
    for what, (a, b) in zip(
        ("a training step", "a prediction"), compared(("true", DEMO, {}), ("false", DEMO, {}), runs=runs), strict=True
    ):
        name, target = f"train.portable, demo's network, {what}", {"target": "at most 1.25"} if "step" in what else {}
        rows.append(row(name, "all that the processor has", overhead=a / b, **target, ours_s=a, other_s=b))
    for network, sizes in LARGE.items():
        pairs = compared(("true", sizes, {}), ("true", sizes, OFF), runs=1)
        for what, (a, b) in zip(("a training step", "a prediction"), pairs, strict=True):
            name = f"oneDNN within AVX2, {network}, {what}"
            rows.append(row(name, "oneDNN off", speed_up=b / a, target="at least 1.5", ours_s=a, other_s=b))
    return rows
