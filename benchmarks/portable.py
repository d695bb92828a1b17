"""What `train.portable` costs on this processor, and what oneDNN gains where a processor has no AVX-512."""

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.measuring import Row, row
from benchmarks.steps import Task, measured

OFF = {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "AVX2"}
DEMO: dict[str, Any] = {"width": 0.35, "n_clips": 16, "n_frames": 380}
LARGE: dict[str, dict[str, Any]] = {
    "MobileNetV2 1.0, 32 clips": {"n_clips": 32},
    "mn04, 16 clips": {"backbone": "EfficientAT", "width": 0.4, "n_clips": 16, "n_frames": 400},
}


def compared(
    ours: Task, other: Task, *, runs: int, variables: Mapping[str, str] | None = None
) -> list[tuple[float, float]]:
    """Medians of (ours, other) in s for a training step and a prediction; processes take turns.

    The other's have these variables.
    """
    found = [(measured(ours), measured(other, environment=variables)) for _ in range(runs)]
    return [
        (statistics.median(pair[0][name] for pair in found), statistics.median(pair[1][name] for pair in found))
        for name in ("step_s", "predict_s")
    ]


def all_rows(*, runs: int = 3) -> list[Row]:
    """The demo's network within the limits and without; larger ones within AVX2, with oneDNN and without."""
    rows = []
    demo = compared(Task(**DEMO, portable=True), Task(**DEMO), runs=runs)
    for what, (a, b) in zip(("a training step", "a prediction"), demo, strict=True):
        name, target = f"train.portable, demo's network, {what}", {"target": "at most 1.25"} if "step" in what else {}
        rows.append(row(name, "all that the processor has", overhead=a / b, **target, ours_s=a, other_s=b))
    for network, sizes in LARGE.items():
        task = Task(**sizes, portable=True)
        for what, (a, b) in zip(
            ("a training step", "a prediction"), compared(task, task, runs=1, variables=OFF), strict=True
        ):
            name = f"oneDNN within AVX2, {network}, {what}"
            rows.append(row(name, "oneDNN off", speed_up=b / a, target="at least 1.5", ours_s=a, other_s=b))
    return rows
