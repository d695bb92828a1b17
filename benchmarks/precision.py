"""What half precision saves on the processor: training steps and predictions, mixed_bfloat16 against float32.

python -m benchmarks.precision NAME     one network, in this process: processor times in s as JSON

Rows are dicts as in `benchmarks.features`. Each network is measured in a process of its own with one thread; steps of
both kinds take turns, and processor time is counted, so that other work on the machine disturbs them little.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Row = dict[str, Any]

# Name -> arguments of the network, clips a batch, frames.
CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    "MobileNetV2": ({"backbone": "MobileNetV2", "width": 1.0, "n_mels": 64}, 64, 512),
    "EfficientAT mn04": (
        {"backbone": "EfficientAT", "width": 0.4, "n_mels": 128, "head": [], "freeze_batchnorm": True},
        16,
        400,
    ),
}
KINDS = ("float32", "mixed_bfloat16")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def all_rows() -> list[Row]:
    """Two rows a network."""
    rows: list[Row] = []
    for name, (_, n_clips, n_frames) in CASES.items():
        command = [sys.executable, "-m", "benchmarks.precision", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
        measured = json.loads(done.stdout.splitlines()[-1])
        for what, figures in measured.items():
            full, half = figures["float32"], figures["mixed_bfloat16"]
            rows.append(
                {
                    "name": f"mixed_bfloat16, {what}: {name}, {n_clips} clips, T {n_frames}",
                    "compare_with": "float32, one thread",
                    "speed_up": full / half,
                    "bfloat16_s": half,
                    "float32_s": full,
                    "wall_speed_up": figures["wall"],
                }
            )
    return rows


def measure(name: str, *, runs: int = 5) -> dict[str, dict[str, float]]:
    """Median processor time in s of a training step and of a prediction in each kind; the ratio of wall times too."""
    from fsat.inputs.batches import Batch
    from fsat.networks import backend, model

    network, n_clips, n_frames = CASES[name]
    rng = np.random.default_rng(0)
    batch = Batch(
        rng.random((n_clips, network["n_mels"], n_frames, 1), np.float32),
        None,
        np.eye(41, dtype=np.float32)[rng.integers(41, size=n_clips)],
    )
    weights = np.ones(n_clips, np.float32)
    work: dict[str, dict[str, Callable[[], Any]]] = {"a training step": {}, "prediction": {}}
    for kind in KINDS:
        backend.prepare(1, precision=kind)
        built = model.build_network(batchnorm_momentum=0.9, n_classes=41, **network)
        built.compile(backend.adam(), "categorical_crossentropy")
        built.optimizer.build(built.trainable_variables)
        step, predict = backend.training_step(built), backend.predictor(built)
        work["a training step"][kind] = lambda step=step: step(batch, weights)()  # type: ignore[misc]
        work["prediction"][kind] = lambda predict=predict: predict(batch.inputs)  # type: ignore[misc]
    return {what: _medians(kinds, runs) for what, kinds in work.items()}


def _medians(kinds: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    spent: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for run in range(runs + 1):
        for kind, function in kinds.items():
            processor, wall = time.process_time(), time.perf_counter()
            function()
            times = (time.process_time() - processor, time.perf_counter() - wall)
            if run:  # the first call compiles
                spent[kind].append(times)
    medians = {
        kind: [statistics.median(column) for column in zip(*times, strict=True)] for kind, times in spent.items()
    }
    full, half = (medians[kind] for kind in KINDS)
    return {kind: medians[kind][0] for kind in KINDS} | {"wall": full[1] / half[1]}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
