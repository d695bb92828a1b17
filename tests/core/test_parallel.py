"""One function over many clips: order, memory, threads, errors, and a Dask cluster."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from fsat import presets
from fsat.clips import audio
from fsat.core import loaded_code, parallel
from fsat.core.errors import FsatError
from fsat.features import mel, mel_bank

ROOT = Path(__file__).parents[2]
WORK = partial(
    mel.log_mel,
    sample_rate=44100,
    settings=presets.read("fsdkaggle2018", ROOT / "presets").mel,
    bank=mel_bank.grouped(np.random.default_rng(0).random((883, 64), np.float32)),
)
SIGNALS = [np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32) for n in range(1000, 41_000, 4000)]


def slow_square(number: int) -> int:
    """Later items finish first."""
    time.sleep(0.02 * (number % 3 == 0))
    return number**2


def leave_a_mark(number: int, *, folder: Path) -> int:
    (folder / str(number)).touch()
    return number


def thread_counts(_: int) -> set[int]:
    (np.ones((50, 50)) @ np.ones((50, 50))).sum()
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def kill_the_worker(_: int, *, once: Path) -> None:
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def die_of_five(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_and_every_call_has_one_thread(jobs: int) -> None:
    for n in (0, 1, 7, 150):
        assert list(parallel.map_clips(slow_square, range(n), desc="test", jobs=jobs)) == [i**2 for i in range(n)]
    assert set.union(*parallel.map_clips(thread_counts, range(4), desc="test", jobs=jobs)) == {1}


@pytest.mark.filterwarnings("error")
def test_a_slow_consumer_is_not_run_away_from_and_may_stop_early(tmp_path: Path) -> None:
    results = parallel.map_clips(partial(leave_a_mark, folder=tmp_path), range(500), desc="test", jobs=2)
    assert next(results) == 0
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 2 * parallel._AHEAD_PER_WORKER + 2
    assert isinstance(results, Generator)
    results.close()
    assert list(parallel.map_clips(slow_square, range(3), desc="test", jobs=2)) == [0, 1, 4]


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_reach_the_caller(jobs: int) -> None:
    work = partial(audio.load, sample_rate=44100)
    with pytest.raises(audio.AudioError, match=r"missing\.wav: no such file"):
        list(parallel.map_clips(work, ["missing.wav", "missing.wav"], desc="test", jobs=jobs))


def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    work = partial(kill_the_worker, once=tmp_path / "killed")
    with pytest.raises(FsatError, match=r"test: a worker process was killed, .* FSAT_JOBS"):
        list(parallel.map_clips(work, range(4), desc="test", jobs=2))
    assert list(parallel.map_clips(slow_square, range(3), desc="test", jobs=2)) == [0, 1, 4]


def test_a_process_that_may_start_no_others_works_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the workers of `multiprocessing.Pool` and Celery."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    found = parallel.map_clips(lambda _: os.getpid(), range(3), desc="test", jobs=2)
    assert set(found) == {os.getpid()}


KILLED = """
import os, signal
from fsat.core import parallel
list(parallel.map_clips(abs, [1, 2, 3], desc="", jobs=2))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_of_a_killed_process_end() -> None:
    """They held its pipes open for five minutes."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def test_an_item_that_ends_its_worker_is_named() -> None:
    with pytest.raises(FsatError, match=r"test: 5 ends the process that works on it: a fault of a decoder"):
        list(parallel.map_clips(die_of_five, range(8), desc="test", jobs=2))


def test_jobs_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSAT_DASK", raising=False)
    for text in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("FSAT_JOBS", text)
        with pytest.raises(FsatError, match=f"FSAT_JOBS must be an integer >= 1 .* Got '{text}'"):
            list(parallel.map_clips(slow_square, [1, 2], desc="test"))
    monkeypatch.setenv("FSAT_JOBS", "1")
    assert list(parallel.map_clips(lambda number: number, [1, 2], desc="test")) == [1, 2]


def test_progress_is_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(parallel.map_clips(slow_square, [], desc="trim", jobs=1)) == []
    assert capsys.readouterr() == ("", "")  # of nothing, nothing is said
    list(parallel.map_clips(slow_square, range(5), desc="trim", jobs=1))
    out, err = capsys.readouterr()
    assert out == ""
    assert "trim: 5 of 5 clips" in err.strip().splitlines()[-1]


def computed(jobs: int | None = None) -> list[bytes]:
    return [array.tobytes() for array in parallel.map_clips(WORK, SIGNALS, desc="test", jobs=jobs)]


def test_two_processes_and_a_dask_cluster_give_the_bytes_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    serial = computed(1)
    assert computed(2) == serial
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv("FSAT_DASK", cluster.scheduler_address)
        assert computed() == serial
        with pytest.raises(audio.AudioError, match="no such file"):
            list(parallel.map_clips(partial(audio.load, sample_rate=44100), ["missing.wav"] * 3, desc="test"))
        monkeypatch.setitem(loaded_code.LOADED, "fsat/features/mel.py", "edited since")
        with pytest.raises(
            FsatError, match=r"the worker tcp://\S+ has loaded other versions .*: fsat/features/mel\.py"
        ):
            computed()


def test_a_dask_worker_with_another_library_is_refused() -> None:
    client = SimpleNamespace(run=lambda _: {"tcp://a": {"numpy": "0.1"}})
    with pytest.raises(FsatError, match="the worker tcp://a has loaded other versions than this process: numpy"):
        parallel.refuse_other_workers(client, "tcp://x")


def test_dask_problems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSAT_DASK", "tcp://127.0.0.1:9")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "distributed", None)
        with pytest.raises(FsatError, match=r"pip install -e '\.\[pipeline\]'"):
            list(parallel.map_clips(slow_square, [1, 2], desc="test"))
    monkeypatch.setattr(parallel, "_DASK_TIMEOUT_S", 0.3)
    with pytest.raises(FsatError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler there"):
        list(parallel.map_clips(slow_square, [1, 2], desc="test"))
