"""Folds side by side on Dask: the lock of one serial run, also where a worker dies."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster

import project
from fsat.core.errors import FsatError
from scripts import folds


def wait_for(condition: Callable[[], bool], *, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def cluster(folder: Path, n_workers: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler's address, and processes of workers that nothing starts anew."""
    with LocalCluster(n_workers=0, dashboard_address=None) as scheduler:
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--resources", "GPU=1")
        command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler.scheduler_address, *options]
        environment = project.environment() | {"ONEDNN_MAX_CPU_ISA": "SSE41"}  # a training takes the driver's
        workers = [
            subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) for _ in range(n_workers)
        ]
        try:
            yield scheduler.scheduler_address, workers
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def test_the_fold_of_a_killed_worker_goes_on_at_another_to_the_lock_of_the_serial_run(
    finished_project: Path, tmp_path: Path
) -> None:
    folder = project.clone(tmp_path / "clone")
    # All but the trainings of stage 1 comes from the run cache, as long as these give the same bytes.
    shutil.copytree(finished_project / ".dvc" / "cache", folder / ".dvc" / "cache", symlinks=True)
    for record in (folder / ".dvc" / "cache" / "runs").glob("*/*/*"):
        if "stages.stage1 " in record.read_text():
            shutil.rmtree(record.parent)
    trainings = folder / "state" / "training"
    with cluster(folder, 2) as (address, workers):
        environment = project.environment() | {"FSAT_DASK": address}
        command = ["python", "-m", "scripts.folds"]
        driver = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: driver.poll() is not None or bool(list(trainings.glob("stage1-fold1-*"))))
            training = psutil.Process(int((trainings / "stage1-fold1.owner").read_text().split()[1]))
            training.suspend()  # it trains for no longer than this test may take to look
            holder = next(worker for worker in workers if worker.pid in [one.pid for one in training.parents()])
            holder.kill()
            wait_for(lambda: not training.is_running() or training.status() == psutil.STATUS_ZOMBIE, seconds=10)
            output, _ = driver.communicate()
        finally:
            driver.kill()
            driver.wait()
    assert driver.returncode == 0, output
    assert {f"{name}: done" for name in project.TRAINING} <= set(output.splitlines())
    log = (folder / "logs" / "stage1-fold1.log").read_text()
    assert "resumed after epoch" in log and "SSE41" not in log
    assert project.locks(folder) == project.locks(finished_project)


def test_a_failed_fold_is_named_while_the_others_go_on(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = {"train.stage1.run": False, "train.stage2.run": False, "ensemble.models": ["statistics"]}
    project.set_parameters(copy, **without)
    script = copy / "stages" / "stage1.py"
    fault = '    import os\n    print("GPU", os.environ["CUDA_VISIBLE_DEVICES"])\n    assert fold == "0"\n'
    script.write_text(script.read_text().replace("    p = params.read(", f"{fault}    p = params.read("))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    result = project.call(copy, "python", "-m", "scripts.folds", check=False)
    assert result.returncode == 1
    assert "stage1@1: failed on" in result.stderr and "see logs/stage1-fold1.log" in result.stderr
    assert result.stderr.splitlines()[-1] == "failed: stage1@1"
    assert result.stdout.splitlines()[-3:] == ["stage1@0: done", "stage2@0: done", "predict@0: done"]
    logs = [(copy / "logs" / f"{name}.log").read_text().splitlines() for name in ("stage1-fold0", "stage1-fold1")]
    assert sorted(line for log in logs for line in log if line.startswith("GPU ")) == ["GPU 5", "GPU 7"]
    assert not (copy / "logs" / "stage2-fold1.log").exists()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with folds.connect("", [None]) as (client, _):
        yield client


def test_a_worker_that_does_not_see_the_folder_is_refused(client: Client, tmp_path: Path) -> None:
    with folds.marked(tmp_path) as mark:
        assert folds.resources_of(client, tmp_path, mark) is None
        with pytest.raises(FsatError, match=rf"^the Dask worker \S+ does not see this folder\. .* {tmp_path}/b "):
            folds.resources_of(client, tmp_path / "b", mark)


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.ROOT)
    monkeypatch.setattr(sys, "argv", ["folds"])
    monkeypatch.setenv("FSAT_DASK", "tcp://127.0.0.1:9")
    monkeypatch.setattr("fsat.core.parallel._DASK_TIMEOUT_S", 0.3)
    with pytest.raises(SystemExit, match=r"^FSAT_DASK=tcp://127\.0\.0\.1:9: no Dask scheduler there .*`\.$"):
        folds.main()


def sleep_while_wanted(mark: Path) -> None:
    """Leave a mark when the command has been ended."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    mark.write_text(str(os.getpid()))
    code = folds.run_guarded(["sh", "-c", "sleep 600 & sleep 600"], lambda: folds.is_wanted(worker, key))
    mark.write_text(f"ended by {-code}")


def test_a_task_whose_client_is_gone_ends_its_processes(client: Client, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    future = client.submit(sleep_while_wanted, mark)
    wait_for(mark.exists, seconds=20)
    future.cancel()
    wait_for(lambda: mark.read_text() == "ended by 9", seconds=20)
    with contextlib.suppress(psutil.Error):
        assert not [one for one in psutil.Process().children(recursive=True) if one.name() == "sleep"]
