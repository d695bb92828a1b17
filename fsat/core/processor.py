"""Limits that make features the same on every x86-64 processor with AVX2, and what this process computes with.

Libraries read these variables when they are loaded: `stages/__init__.py` calls `limit` before any of them.
"""

import os
import platform
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

NUMPY = ("NPY_ENABLE_CPU_FEATURES", "NPY_DISABLE_CPU_FEATURES")
LIMITS = {NUMPY[0]: "X86_V3", "OPENBLAS_CORETYPE": "Haswell"}
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # off by default without AVX512_VNNI, AVX_VNNI and the like
PORTABLE = {"ONEDNN_MAX_CPU_ISA": "AVX2", "TF_NUM_INTRAOP_THREADS": "2"}
# What NumPy's group X86_V3 asks for, in the words of Linux.
_V3 = {"avx2", "fma", "bmi1", "bmi2", "abm", "f16c", "movbe"}
_DIFFER = "digits may differ from the committed ones"
_CPUINFO = Path("/proc/cpuinfo")


def _first(key: str) -> str:
    """What Linux says first under a key; empty on another system."""
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def flags() -> set[str]:
    """Instruction sets that Linux lists; none on another system or processor than x86-64."""
    return set(_first("flags").split()) if platform.machine() in ("x86_64", "AMD64") else set()


def limit(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set `LIMITS` and `ONEDNN` where the processor has them and the user says nothing else; workers inherit them."""
    found = flags()
    if found >= _V3 and "numpy" not in sys.modules:  # a NumPy that is there would differ from that of its workers
        if not any(name in environment for name in NUMPY):
            environment[NUMPY[0]] = LIMITS[NUMPY[0]]
        environment.setdefault("OPENBLAS_CORETYPE", LIMITS["OPENBLAS_CORETYPE"])
    if found:
        for name, value in ONEDNN.items():
            environment.setdefault(name, value)


def limit_networks() -> None:
    """Set `PORTABLE` for a TensorFlow that is imported afterwards; a setting of the user's wins, with a note."""
    if has_avx2():
        for note in _of_environment(PORTABLE):
            print(f"note: {note}", file=sys.stderr)
        for name, value in PORTABLE.items():
            os.environ.setdefault(name, value)


def has_avx2() -> bool:
    """Whether this is an x86-64 processor with NumPy's group X86_V3."""
    return flags() >= _V3


def name() -> str:
    """Model of the processor, as Linux or Python call it."""
    return _first("model name") or platform.processor() or platform.machine()


def settings(wanted: Mapping[str, str]) -> list[str]:
    """Variables of the environment that differ from these, as NAME=value."""
    found = [f"{name}={os.environ[name]}" for name in wanted if os.environ.get(name, wanted[name]) != wanted[name]]
    if NUMPY[0] in wanted and NUMPY[1] in os.environ:
        found.append(f"{NUMPY[1]}={os.environ[NUMPY[1]]}")
    return found


def _of_environment(wanted: Mapping[str, str]) -> list[str]:
    found = settings(wanted)
    return [f"the environment sets {', '.join(found)}: {_DIFFER}"] if found else []


def in_force() -> dict[str, str]:
    """What NumPy and the OpenBLAS libraries of this process compute with, in their own words, by variable.

    None where NumPy is not loaded, or the processor is no x86-64.
    """
    if "numpy" not in sys.modules:
        return {}
    import numpy as np
    from threadpoolctl import threadpool_info

    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    if not features.get("X86_V2"):
        return {}
    kernels = {pool.get("architecture", "") for pool in threadpool_info() if pool["internal_api"] == "openblas"}
    groups = ("AVX512_SPR", "AVX512_ICL", "X86_V4", "X86_V3", "X86_V2")
    found = (next(name for name in groups if features.get(name)), ", ".join(sorted(kernels)))
    return {name: words for name, words in zip(LIMITS, found, strict=True) if words}


def used() -> dict[str, str]:
    """All that a training's digits depend on here: `in_force`, and TensorFlow's settings."""
    return in_force() | {name: os.environ.get(name, "") for name in ONEDNN | PORTABLE}


def notes() -> list[str]:
    """What makes the digits of this process differ from the committed ones, a sentence each."""
    if not has_avx2():
        return []
    wider = [f"{name} is {words} in force" for name, words in in_force().items() if words != LIMITS[name]]
    late = [f"{', '.join(wider)}, as NumPy was imported before it was set: {_DIFFER}"] if wider else []
    return _of_environment(LIMITS | ONEDNN) or late
