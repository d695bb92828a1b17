"""Training and prediction on a GPU: speed, memory, equal bytes, and how long the full run would take.

python -m benchmarks gpu                at most eight minutes; by train.backend, or KERAS_BACKEND=jax
python -m benchmarks gpu --scale 0.1    a tenth of the clips, of T and of the time, on any machine; writes nothing.
                                        TensorFlow compiles nothing by XLA on a CPU
"""

import math
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from typing import Any

from benchmarks.measuring import ROOT, Row, row
from benchmarks.steps import Task, measured
from fsat import presets
from fsat.core import params

LIMIT_S = 480
BACKENDS = {"tensorflow": "GPU, TensorFlow", "jax": "GPU, JAX"}  # and their parts of the results
RECIPE = "MobileNetV2 1.0"
NETWORKS: dict[str, dict[str, Any]] = {
    RECIPE: {},
    "mn10": {"backbone": "EfficientAT"},
    "mn04": {"backbone": "EfficientAT", "width": 0.4},
}
ANY, FEW = "any T", "T in steps of 32 (XLA)"
CLIPS, TEST_CLIPS = 9473, 1600  # of FSDKaggle2018
NOT_RUN = "Not run: no GPU was at hand. `python -m benchmarks gpu` measures and writes this part.\n"


def backend() -> str:
    """The backend to measure."""
    return os.environ.get("KERAS_BACKEND") or params.read(ROOT / "params.yaml").train.backend


def all_rows(*, scale: float = 1.0) -> list[Row]:
    """The network of the recipe first, then what else `LIMIT_S` allows; a row says what failed or was left out.

    With `scale` under 1, sizes and times are that share, no GPU is needed, and it ends when all is done.
    """
    ends = time.monotonic() + LIMIT_S if scale == 1 else math.inf
    plain = Task(
        n_clips=max(2, round(64 * scale)), n_frames=max(32, round(512 * scale / 32) * 32), backend=backend(),
        block=max(1, round(10 * scale)), seconds=5 * scale, predict=False, needs_gpu=scale == 1,
    )  # fmt: skip
    is_jax = plain.backend == "jax"
    rows: list[Row] = []

    def take(name: str, task: Task) -> dict[str, Any]:
        try:
            if (left := ends - time.monotonic()) > 0:
                return measured(task, timeout_s=None if left == math.inf else left)
        except subprocess.TimeoutExpired:
            pass
        except SystemExit as error:  # the others are still worth their time
            lines = str(error).strip().splitlines()
            named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
            rows.append(row(name, failed=(named or lines)[-1]))
            return {}
        rows.append(row(name, left_out=f"{LIMIT_S / 60:.0f} minutes were over"))
        return {}

    def compare(network: str, precision: str, crop_step: int) -> None:
        kind = ANY if crop_step == 1 else FEW
        name = f"{network}, {precision}, {kind}"
        more = network == RECIPE and (is_jax or kind == ANY)
        figures = take(name, replace(plain, **NETWORKS[network], precision=precision, crop_step=crop_step, more=more))
        if figures and not rows:
            rows.append(row("the device", device=figures["device"] or "none", backend=figures["version"]))
        if "step_s" in figures:
            rows.extend(_rows(name, plain, figures, rows))

    compare(RECIPE, "float32", 32 if is_jax else 1)
    if "device" not in rows[0]:
        sys.exit(f"benchmarks: {rows[0]}")
    if plain.needs_gpu and rows[0]["device"] == "none":
        sys.exit(f"{plain.backend} sees no GPU; `fsat doctor` says why. To try this on a CPU: --scale 0.1")
    name = "two short trainings with `train.deterministic`"
    first, second = (take(name, replace(plain, bytes_only=True)) for _ in range(2))
    if first and second:
        rows.append(row(name, equal_bytes="yes" if first["md5"] == second["md5"] else "no"))
    crop_steps = (32,) if is_jax else (1, 32)
    for network, crop_step, precision in product(NETWORKS, crop_steps, ("float32", "mixed_float16")):
        if (network, crop_step, precision) != (RECIPE, crop_steps[0], "float32"):
            compare(network, precision, crop_step)
    name = f"{RECIPE}, float32, a step, ops as they come"
    if not is_jax and (figures := take(name, replace(plain, deterministic=False))):
        ours, other = figures["step_s"], 1 / rows[1]["steps_per_s"]
        rows.append(row(name, "deterministic ops", speed_up=other / ours, ours_s=ours, other_s=other))
    return rows


def _rows(name: str, task: Task, found: dict[str, Any], before: list[Row]) -> list[Row]:
    """A row of the step, against that at any T where there is one before, and one of the passes."""
    title = f": a step of {task.n_clips} clips, T {task.n_frames}"
    other = [one for one in before if one["name"] == name.replace(FEW, ANY) + title and "steps_per_s" in one]
    figures = {"speed_up": 1 / found["step_s"] / other[0]["steps_per_s"]} if other else {}
    figures |= {"steps_per_s": 1 / found["step_s"], "first_s": found["first_s"]}
    shown = {"new_length_s": "new_T_s", "peak_mb": "peak_mb"}
    figures |= {name: found[key] for key, name in shown.items() if key in found}
    rows = [row(name + title, ANY if other else "-", **figures)]
    if "passes_s" in found:
        passes = {"passes_s": found["passes_s"], "clips": task.n_clips}
        rows.append(row(f"{name}: predict, 30 passes over {task.n_clips} clips", **passes))
    return rows


def estimate(results: dict[str, Any]) -> str:
    """The full preset's time on the GPUs that were measured: a table in Markdown, or that there are none."""
    lines = [
        f"| {measured['rows'][0]['device']}, {measured['rows'][0]['backend']} | {' | '.join(cells)} |"
        for part in BACKENDS.values()
        if (measured := results.get(part))
        for cells in _estimates(measured["rows"])
    ]
    head = ["| GPU | network, precision, lengths | training, hours | prediction, hours |", "|---|---|---|---|"]
    return "\n".join([*head, *lines]) + "\n" if lines else NOT_RUN


def _estimates(rows: list[Row]) -> list[tuple[str, str, str]]:
    """For each variant of the recipe's step: training at the fewest and the most epochs, and prediction, in hours."""
    p = presets.read("fsdkaggle2018", ROOT / "presets")
    pass_s = next(one["passes_s"] / one["clips"] / 30 for one in rows if "passes_s" in one)  # of a clip
    trainings, heldout = 2 * len(p.folds.ids), CLIPS // p.folds.n_splits
    fewest = most = p.train.stage1.cyclic.epochs
    for phase in (p.train.stage1.finetune_low, p.train.stage1.finetune_high):  # may end early
        fewest, most = fewest + min(phase.epochs, p.train.plateau.stop_patience + 1), most + phase.epochs
    found = []
    for one in (one for one in rows if one["name"].startswith(RECIPE) and "steps_per_s" in one):
        step_s, n_lengths = 1 / one["steps_per_s"], 17 if FEW in one["name"] else 501  # T from 263 to 763
        epoch_s = math.ceil((CLIPS - heldout) / p.train.batch_size) * step_s
        epoch_s += heldout * p.train.validation_lengths * pass_s
        new_s = n_lengths * (one["new_T_s"] - step_s)
        low, high = (trainings * (epochs * epoch_s + new_s) / 3600 for epochs in (fewest, most))
        prediction = trainings * (heldout + TEST_CLIPS) * 30 * pass_s / 3600
        found.append((one["name"].partition(":")[0], f"{low:.1f} to {high:.1f}", f"{prediction:.1f}"))
    return found
