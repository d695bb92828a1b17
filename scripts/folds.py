"""Train and predict the folds side by side on Dask: a worker a GPU, several on one CPU, or a cluster.

    python -m scripts.folds                                  a worker for each GPU of CUDA_VISIBLE_DEVICES
    python -m scripts.folds --workers 2                      two workers on whatever device there is
    FSAT_DASK=tcp://scheduler:8786 python -m scripts.folds   the workers of a cluster that see this folder

Each fold is a chain of tasks: `dvc repro --single-item` of stage1, stage2, predict. Such a call holds DVC's lock only
while it starts and ends, so that folds train at the same time. What they leave is what `dvc repro` leaves: the same
outputs, the same dvc.lock. The fold of a worker that dies goes on at another one, after its last finished epoch.
"""

import stages  # noqa: F401, I001  (its limits of the processor, before NumPy is imported)

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from fsat.core import params
from fsat.core.errors import FsatError, escaped

MATRIX = ("stage1", "stage2", "predict")
# Variables of the environment that a result may depend on: a worker takes those of this process, not its own.
SHAPING = (
    "CUBLAS_", "FSAT_", "JAX_", "KERAS_", "MKL_", "NPY_", "NVIDIA_", "OMP_", "ONEDNN_", "OPENBLAS_", "TF_", "XLA_",
)  # fmt: skip
# What DVC and a training say while the same stage runs elsewhere, or a killed one has not quite ended.
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock", "is being trained by")
BUSY_S = 900.0  # longer than a scheduler takes to give up a worker
RUNNING = ("pending", "lost")  # lost: done at a worker that died since, and about to be looked at once more
GPU = "GPU"  # the resource that a worker of a cluster offers: `dask worker --resources GPU=1`


def read_parameters() -> params.Params:
    """Parameters; ends the script if the schema refuses them. To be called before DVC, which puts them into a shell."""
    try:
        return params.read()
    except FsatError as error:
        sys.exit(str(error))


# On a worker --------------------------------------------------------------------------------------------------------


def run_stage(
    name: str, before: object, *, folder: Path, mark: str, environment: dict[str, str], devices: Mapping[Any, str]
) -> None:
    """Run one stage of one fold, such as stage1@0, in a subprocess; again while another process holds its locks.

    `before` is the result of the stage that has to be run before; `mark` is a file that tells the project's folder from
    others; `environment` has the variables of `SHAPING`; `devices` has CUDA_VISIBLE_DEVICES by name of the worker,
    where its own does not hold. `FsatError` if the stage fails, or this worker does not see the folder.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    if not (folder / mark).is_file():
        raise FsatError(f"{name}: the worker {worker.address} does not see {folder}")
    own = {variable: value for variable, value in os.environ.items() if not variable.startswith(SHAPING)}
    own["PATH"] = search_path()
    own |= {"CUDA_VISIBLE_DEVICES": devices[worker.name]} if worker.name in devices else {}
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name]
    log = folder / log_of(name)
    deadline = time.monotonic() + BUSY_S
    while True:
        started = time.monotonic()
        with log.open("ab") as stream:
            start = stream.tell()
            code = run_guarded(
                command, lambda: is_wanted(worker, key), cwd=folder, env=own | environment, stdout=stream, stderr=stream
            )
        said = log.read_bytes()[start:].decode(errors="replace")
        if code == 0:
            return
        if time.monotonic() - started > BUSY_S:  # it has worked, and met a lock at its end
            deadline = time.monotonic() + BUSY_S
        if not any(words in said for words in BUSY) or time.monotonic() > deadline or not is_wanted(worker, key):
            raise FsatError(f"{name}: failed on {os.uname().nodename}, see {log_of(name)}\n{said[-2000:]}")
        time.sleep(1)


def search_path() -> str:
    """PATH by which DVC finds this Python and what is installed beside it."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def run_guarded(command: Sequence[str], wanted: Callable[[], bool], **options: Any) -> int:
    """Exit code of a command; all processes of its group end with it, with this process, or if it is not wanted.

    The group's first process waits for the end of a pipe that this process holds open, also if that is killed.
    """
    guard = subprocess.Popen(["sh", "-c", "read -r _; kill -KILL 0"], stdin=subprocess.PIPE, process_group=0)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=guard.pid, **options)
        while wanted():
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                continue
        os.killpg(guard.pid, signal.SIGKILL)
        return process.wait()
    finally:
        guard.communicate()  # closes the pipe


def is_wanted(worker: Any, key: object) -> bool:
    """Whether somebody still waits for the task that a worker is running."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state in ("executing", "long-running")


def look(folder: Path, mark: str, dask_worker: Any) -> tuple[bool, float]:
    """Whether a worker sees the folder, and its number of GPUs."""
    return (folder / mark).is_file(), dask_worker.state.total_resources.get(GPU, 0)


def log_of(name: str) -> Path:
    """Log of a stage and fold, from the folder of the project."""
    return Path("logs") / f"{name.replace('@', '-fold')}.log"


# Here ---------------------------------------------------------------------------------------------------------------


@contextmanager
def connect(address: str, devices: Sequence[str | None]) -> Iterator[tuple[Any, dict[Any, str]]]:
    """Yield a client of a Dask cluster, and CUDA_VISIBLE_DEVICES by name of a worker.

    Without an address the workers are threads of this process, one a device, to which nobody else can connect.
    """
    if address:
        from fsat.core import parallel

        with parallel.dask_client(address) as client:
            if not client.ncores():
                print(f"FSAT_DASK={address}: waiting for a worker", flush=True)
                client.wait_for_workers(1)
            parallel.refuse_other_workers(client, address)
            yield client, {}
    else:
        from distributed import Client, Scheduler, SpecCluster, Worker

        local = {"protocol": "inproc://", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        workers = {
            number: {"cls": Worker, "options": local | {"nthreads": 1, "memory_limit": 0, "resources": resources}}
            for number, resources in enumerate({} if device is None else {GPU: 1} for device in devices)
        }
        scheduler = {"cls": Scheduler, "options": local}
        with (
            SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL) as cluster,
            Client(cluster) as client,
        ):
            yield client, {number: device for number, device in enumerate(devices) if device is not None}


@contextmanager
def marked(folder: Path) -> Iterator[str]:
    """Yield the name of a file that this folder alone has."""
    mark = Path("state", f"folds-{uuid.uuid4().hex}")
    (folder / mark).parent.mkdir(exist_ok=True)
    (folder / mark).touch()
    try:
        yield str(mark)
    finally:
        (folder / mark).unlink(missing_ok=True)


def resources_of(client: Any, folder: Path, mark: str) -> dict[str, int] | None:
    """What a task asks for: a GPU, if workers offer any; `FsatError` names a worker that does not see the folder."""
    seen = client.run(look, folder, mark)
    if blind := [worker for worker, (sees, _) in seen.items() if not sees]:
        raise FsatError(f"the Dask worker {blind[0]} does not see this folder. Start it where {folder} is the same.")
    return {GPU: 1} if any(gpus for _, gpus in seen.values()) else None


def run_folds(client: Any, folds: Sequence[int], resources: Mapping[str, int] | None, task: Callable) -> list[str]:
    """All stages of all folds on a cluster; returns the names of those that failed. `task` is a `run_stage`."""
    chains: dict[int, dict[str, Any]] = {}
    for fold in folds:
        chains[fold], before = {}, None
        for stage in MATRIX:
            name = f"{stage}@{fold}"
            log_of(name).parent.mkdir(exist_ok=True)
            log_of(name).unlink(missing_ok=True)  # workers append: a fold may go on at another one
            key = f"{stage}-{uuid.uuid4().hex}"
            before = chains[fold][name] = client.submit(task, name, before, key=key, resources=resources)
    return watch(chains)


def watch(chains: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Show all folds on a terminal, a line for each stage that ends; returns the names of those that failed."""
    from rich.live import Live

    failed: dict[int, str] = {}
    told: set[str] = set()
    with Live(auto_refresh=False, transient=True) as live:
        while True:
            running: dict[int, str] = {}
            for fold, chain in chains.items():
                for name, future in chain.items() if fold not in failed else ():
                    if (status := future.status) in RUNNING:
                        running[fold] = name
                        break
                    if status != "finished":
                        failed[fold] = name
                        print(escaped(reason(name, future)), file=sys.stderr, flush=True)
                        break
                    if name not in told:
                        told.add(name)
                        print(f"{name}: done", flush=True)
            if not running:
                return list(failed.values())
            live.update(progress(chains, running, failed), refresh=True)
            time.sleep(1)


def progress(folds: Iterable[int], running: Mapping[int, str], failed: Mapping[int, str]) -> Any:
    """A table with a row for each fold: the stage it is at, and the last line of that stage's log."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False)
    for fold in folds:
        name = running.get(fold) or failed.get(fold)
        state = f"{name} failed" if fold in failed else name or f"fold {fold} done"
        said = last_line(log_of(name)) if name else ""
        table.add_row(state, Text(said, overflow="ellipsis", no_wrap=True))
    return table


def reason(name: str, future: Any) -> str:
    """Why a stage failed."""
    if future.status != "error":
        return f"{name}: {future.status}, as the Dask scheduler is gone"
    error = future.exception()
    return str(error) if isinstance(error, FsatError) else f"{name}: {error}"


def last_line(log: Path) -> str:
    """What a stage said last; empty if it did not begin."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return escaped(next((line.strip() for line in reversed(lines) if line.strip()), ""))


def source_of(path: str) -> list[str]:
    """The stage of sources/dvc.yaml that makes a path, as a target for DVC; nothing if it is one's own file."""
    sources = yaml.safe_load(Path("sources/dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [f"sources/dvc.yaml:{name}" for name, stage in sources.items() if path in stage["outs"]]


def reproduce(*targets: str) -> None:
    """`dvc repro` of some stages, or all; ends the script with its exit code if that fails."""
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    if code := subprocess.run(command, env=os.environ | {"PATH": search_path()}, check=False).returncode:
        sys.exit(code)


def main() -> None:
    """Features first, then the folds, then the rest."""
    parser = argparse.ArgumentParser(description="Train and predict the folds side by side.")
    parser.add_argument("--workers", type=int, help="workers; default: one for each GPU of CUDA_VISIBLE_DEVICES")
    arguments = parser.parse_args()
    address = os.environ.get("FSAT_DASK", "")
    gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    if address and arguments.workers is not None:
        parser.error("--workers is for this machine: unset FSAT_DASK, or leave it out")
    if not address and arguments.workers is None and not gpus:
        parser.error("name the GPUs in CUDA_VISIBLE_DEVICES or a cluster in FSAT_DASK, or give --workers")
    if arguments.workers is not None and arguments.workers < 1:
        parser.error("--workers must be at least 1")
    p, folder = read_parameters(), Path.cwd()
    workers = gpus if arguments.workers is None else [None] * arguments.workers
    environment = {
        name: value for name, value in os.environ.items() if name.startswith(SHAPING) and name != "FSAT_DASK"
    }
    try:
        with marked(folder) as mark, connect(address, workers) as (client, devices):
            resources = resources_of(client, folder, mark)
            reproduce(*source_of(p.model.weights), "mel", "pca", "folds")
            task = partial(run_stage, folder=folder, mark=mark, environment=environment, devices=devices)
            failed = run_folds(client, p.folds.ids, resources, task)
        if failed:
            sys.exit(f"failed: {', '.join(failed)}")
        reproduce()
    except FsatError as error:
        sys.exit(escaped(error))
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on after the last finished epochs")


if __name__ == "__main__":
    main()
