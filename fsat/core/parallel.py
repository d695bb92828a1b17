"""One function over many clips: on the processes of this machine or on a Dask cluster, in the order of the clips."""

import importlib.metadata
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

import joblib
import numpy as np  # noqa: F401  (its BLAS has to be loaded before `_threads` looks for it)
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from fsat.core import loaded_code, processor
from fsat.core.errors import FsatError, listed, shown

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD_PER_WORKER = 16  # enough to keep the others busy while one works on a long clip
_DASK_TIMEOUT_S = 10.0


def map_clips(
    function: Callable[[Item], Result], items: Sequence[Item], *, desc: str, unit: str = "clip", jobs: int | None = None
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, while other processes work ahead.

    Where the work is done is no parameter of a run, because it does not change a result: the environment says it.
    ``FSAT_JOBS`` is the number of processes (default: all cores; 1: this process); ``FSAT_DASK=tcp://host:port`` is
    the scheduler of a Dask cluster, whose workers need this package and the same paths.

    Parameters
    ----------
    function : callable
        A function of a module, or a `functools.partial` of one. Every call has one BLAS and OpenMP thread.
    desc, unit : str
        What the progress display on stderr calls this work (none if it is empty), and an item.
    jobs : int >= 1, optional
        Overrides ``FSAT_JOBS`` and ``FSAT_DASK``.

    Raises
    ------
    FsatError
        If ``FSAT_JOBS`` is no positive integer, or the Dask cluster cannot be used. What `function` raises passes.
    """
    with (
        _executor(min(jobs or _jobs(), len(items)), cluster=jobs is None) as (executor, n_workers),
        closing(_results(executor, function, items, n_ahead=_AHEAD_PER_WORKER * n_workers, desc=desc)) as results,
    ):
        yield from _progress(results, total=len(items), desc=desc, unit=unit)


def _kills(function: Callable[[Item], Result], item: Item) -> bool:
    """Whether an item, alone, ends the process that works on it."""
    with _executor(2, cluster=False) as (executor, _):
        error = executor and executor.submit(_call, function, item).exception()
    return isinstance(error, TerminatedWorkerError)


def _results(
    executor: Executor | None, function: Callable[[Item], Result], items: Iterable[Item], *, n_ahead: int, desc: str
) -> Generator[Result]:
    """Yield results in order; no more than `n_ahead` of them wait, so that memory does not grow with the clips."""
    if executor is None:
        yield from (_call(function, item) for item in items)
        return
    pending: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            pending.append((item, executor.submit(_call, function, item)))
            if len(pending) > n_ahead:
                yield pending[0][1].result()
                pending.popleft()
        while pending:
            yield pending[0][1].result()
            pending.popleft()
    except TerminatedWorkerError as error:
        message = f"{desc}: a worker process was killed, most likely for want of memory. Set FSAT_JOBS to fewer."
        if culprit := next((shown(str(item)) for item, _ in pending if _kills(function, item)), ""):
            why = "a fault of a decoder, or want of memory"
            message = f"{desc}: {culprit} ends the process that works on it: {why}. Remove it."
        raise FsatError(message) from error
    finally:
        for _, future in pending:
            future.cancel()


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    """Call with one thread: more would fight over the cores, and would make sums depend on their number."""
    with _threads().limit(limits=1):
        return function(item)


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def _executor(n_jobs: int, *, cluster: bool) -> Iterator[tuple[Executor | None, int]]:
    """Yield where the work is done, None for this process, and how many workers it has."""
    address = os.environ.get("FSAT_DASK", "")
    if cluster and address:
        with dask_client(address) as client:
            refuse_other_workers(client, address)
            yield client.get_executor(pure=False), max(1, sum(client.ncores().values()))
            refuse_other_workers(client, address)  # also those that joined meanwhile
    elif n_jobs <= 1 or multiprocessing.current_process().daemon:  # such a process may start no others
        yield None, 1
    else:
        # joblib's pool: its workers outlive this call and serve the next one warm.
        pool = get_reusable_executor(
            max_workers=n_jobs,
            timeout=300,
            env=dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            initializer=_end_with,
            initargs=(os.getpid(),),
        )
        yield pool, n_jobs


def _end_with(parent: int) -> None:
    """End this worker soon after its parent, which may be killed: it would hold the parent's pipes open."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _jobs() -> int:
    text = os.environ.get("FSAT_JOBS", "")
    if not text:
        return int(joblib.cpu_count())
    if not text.isdecimal() or int(text) < 1:
        raise FsatError(f"FSAT_JOBS must be an integer >= 1 (processes to use). Got {text!r} instead.")
    return int(text)


def dask_client(address: str) -> AbstractContextManager[Any]:
    """Client of the Dask scheduler at an address; `FsatError` if there is none."""
    try:
        from distributed import Client
    except ImportError as error:
        message = f"FSAT_DASK={address} needs the package distributed: run `pip install -e '.[pipeline]'`."
        raise FsatError(message) from error
    try:
        return Client(address, timeout=_DASK_TIMEOUT_S)
    except (OSError, ValueError, ImportError) as error:
        message = f"FSAT_DASK={address}: no Dask scheduler there ({error}). Start one with `dask scheduler`."
        raise FsatError(message) from error


def refuse_other_workers(client: Any, address: str) -> None:
    """`FsatError` names a worker that has loaded other code or libraries than this process."""
    here = {**loaded_code.LOADED, **_libraries()}
    try:
        answers, limits = client.run(loaded_versions), client.run(processor.in_force)
    except (ImportError, AttributeError) as error:
        raise FsatError(f"FSAT_DASK={address}: a worker has another version of fsat, or none ({error}).") from error
    for worker, there in answers.items():
        if other := [name for name in sorted(there) if here.get(name) != there[name]]:
            raise FsatError(
                f"FSAT_DASK={address}: the worker {worker} has loaded other versions than this process: "
                f"{listed(other)}. Start it anew in this environment and from this code."
            )
        if limits[worker] != (wanted := processor.in_force()):
            settings = [" ".join(f"{name}={words}" for name, words in one.items()) for one in (limits[worker], wanted)]
            raise FsatError(
                f"FSAT_DASK={address}: the worker {worker} computes with {settings[0]}, so that digits would differ. "
                f"Start it anew with {settings[1]} in its environment."
            )


def loaded_versions() -> dict[str, str]:
    """What a result may depend on besides its clip: md5 of each module that this process has loaded, and versions."""
    code = {path: md5 for path, md5 in loaded_code.LOADED.items() if path[:-3].replace("/", ".") in sys.modules}
    return {**code, **_libraries()}


def _libraries() -> dict[str, str]:
    """Versions of those in memory; of those on disk where none is loaded."""
    found = {"Python": platform.python_version()}
    for name in ("numpy", "scipy", "soundfile", "soxr", "av"):
        loaded = getattr(sys.modules.get(name), "__version__", "")
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = str(loaded or importlib.metadata.version(name))
    return found


def _progress(results: Iterator[Result], *, total: int, desc: str, unit: str) -> Iterator[Result]:
    """A bar on a terminal; in a log file one line now and then."""
    line = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} passed, {remaining} left\n"
    log: dict[str, Any] = {} if sys.stderr.isatty() else {"mininterval": 15, "bar_format": line}
    return iter(tqdm(results, total=total, desc=desc, unit=unit, file=sys.stderr, disable=not (desc and total), **log))
