"""Train and predict the folds side by side: one worker a GPU, or several on one machine's CPU.

    python -m scripts.folds                    a worker for each GPU of CUDA_VISIBLE_DEVICES
    python -m scripts.folds --workers 2        two workers on whatever device there is

DVC runs one stage at a time, and a second `dvc repro` waits for the first one's lock. A single stage without its
upstream (`dvc repro -s`) holds the lock only while it starts and ends, so several of them train at once. What they
leave is what `dvc repro` leaves: the same outputs, the same dvc.lock.
"""

import argparse
import os
import queue
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from fsat.core import params
from fsat.core.errors import FsatError

MATRIX = ("stage1", "stage2", "predict")
# What DVC says when another process holds one of its locks.
LOCKED = ("Unable to acquire lock", "is busy", "is locked", "LockError")
ATTEMPTS = 60


def read_parameters() -> params.Params:
    """Parameters; ends the script if the schema refuses them. To be called before DVC, which puts them into a shell."""
    try:
        return params.read()
    except FsatError as error:
        sys.exit(str(error))


def run_stage(name: str, device: str | None) -> bool:
    """`dvc repro -s` of one stage on one device, tried again while DVC's lock is held; whether it succeeded."""
    environment = os.environ | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device})
    log = Path("logs") / f"{name.replace('@', '-fold')}.log"
    log.parent.mkdir(exist_ok=True)
    for _ in range(ATTEMPTS):
        command = ["dvc", "repro", "--single-item", name]
        with log.open("w", encoding="utf-8") as stream:
            done = subprocess.run(command, env=environment, stdout=stream, stderr=stream, check=False)
        output = log.read_text(encoding="utf-8")
        if done.returncode == 0:
            print(f"{name}: done", flush=True)
            return True
        if not any(word in output for word in LOCKED):
            break
        time.sleep(1)
    print(f"{name}: failed, see {log}\n{output[-2000:]}", file=sys.stderr, flush=True)
    return False


def run_folds(stage: str, folds: Sequence[int], devices: Sequence[str | None]) -> list[str]:
    """One matrix stage over all folds, a worker a device; returns the names of those that failed."""
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for device in devices:
        free.put(device)

    def work(fold: int) -> bool:
        device = free.get()
        try:
            return run_stage(f"{stage}@{fold}", device)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        return [f"{stage}@{fold}" for fold, good in zip(folds, pool.map(work, folds), strict=True) if not good]


def source_of(path: str) -> list[str]:
    """The stage of sources/dvc.yaml that makes a path, as a target for DVC; nothing if it is one's own file."""
    sources = yaml.safe_load(Path("sources/dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [f"sources/dvc.yaml:{name}" for name, stage in sources.items() if path in stage["outs"]]


def main() -> None:
    """Features first, then every fold of each matrix stage, then the rest."""
    parser = argparse.ArgumentParser(description="Train and predict the folds side by side.")
    parser.add_argument("--workers", type=int, help="workers; default: one for each GPU of CUDA_VISIBLE_DEVICES")
    arguments = parser.parse_args()
    gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    if arguments.workers is None and not gpus:
        parser.error("name the GPUs in CUDA_VISIBLE_DEVICES, or give --workers")
    if arguments.workers is not None and arguments.workers < 1:
        parser.error("--workers must be at least 1")
    devices: list[str | None] = list(gpus) if arguments.workers is None else [None] * arguments.workers
    p = read_parameters()
    subprocess.run(["dvc", "repro", *source_of(p.model.weights), "mel", "pca", "folds"], check=True)
    for stage in MATRIX:
        if failed := run_folds(stage, p.folds.ids, devices):
            sys.exit(f"failed: {', '.join(failed)}")
    subprocess.run(["dvc", "repro"], check=True)


if __name__ == "__main__":
    main()
