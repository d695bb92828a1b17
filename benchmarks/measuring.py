"""What the parts of the benchmark share: rows of figures, clocks, processes of their own."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
# Python code whose value is the peak of the process's memory in MB. `ru_maxrss` will not do: it starts from the peak of
# the process that started this one.
PEAK_MB = r"""int(__import__("re").search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024"""


def row(name: str, compare_with: str = "-", **figures: Any) -> Row:
    """One claim.

    Figures are `speed_up` (how many times faster), `overhead` (how many times as long, or as large) or `share` (of the
    whole), `target` where there is one, and what was measured, with its unit in the name.
    """
    return {"name": name, "compare_with": compare_with, **figures}


def alternate(
    ours: Callable[[], Any], other: Callable[[], Any], runs: int, *, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Median times in s of two functions that take turns, after one turn each that does not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs + 1):
        for function, measured in zip((ours, other), times, strict=True):
            started = clock()
            function()
            measured.append(clock() - started)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def last_line(
    code: str,
    *arguments: str | Path,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    timeout_s: float | None = None,
) -> str:
    """Last line that code prints in a process of its own; `subprocess.TimeoutExpired` where it takes longer."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment), timeout=timeout_s,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"benchmarks: a process with the arguments {arguments} failed:\n{done.stderr}")
    return done.stdout.splitlines()[-1]


def python(code: str, *arguments: str | Path, folder: Path = ROOT, **environment: str) -> list[float]:
    """The numbers on that line."""
    return [float(word) for word in last_line(code, *arguments, folder=folder, environment=environment).split()]
