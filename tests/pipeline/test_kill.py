"""SIGKILL at random moments of full runs: `dvc repro` goes on, and ends with the lock of an undisturbed run.

Three kills by default; `FSAT_KILLS=20 pytest tests/pipeline/test_kill.py` for more, `FSAT_KILL_SEED` for other moments.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

import project
from fsat import doctor

KILLS = int(os.environ.get("FSAT_KILLS", "3"))
SEED = int(os.environ.get("FSAT_KILL_SEED", "1"))


def killed_after(folder: Path, seconds: float) -> bool:
    """Start `dvc repro`, kill its whole process group after some time; False if it had ended by itself."""
    do_what_the_doctor_says(folder)
    with (folder / "output.log").open("a") as log:
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=folder,
            env=project.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
    assert process.returncode == 0, (folder / "output.log").read_text()[-4000:]
    return False


def do_what_the_doctor_says(folder: Path) -> None:
    """Run the command of each line about a file that DVC was killed in the middle of writing."""
    for check in doctor.truncated_dvc_files(folder):
        *_, command = re.findall("`([^`]+)`", check.text)
        project.call(folder, *command.split())


def test_a_second_clone_killed_again_and_again_makes_the_same_bytes(finished_project: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED)
    kills: list[list[int]] = []
    while sum(map(len, kills)) < KILLS:  # one run survives about eight kills before it comes to its end
        folder = project.clone(tmp_path / f"run{len(kills)}")
        started = time.monotonic()
        kills.append([])
        # A run takes a minute and a half: moments over 45 s let every kill fall into another part of it.
        while sum(map(len, kills)) < KILLS and killed_after(folder, float(rng.uniform(1, 45))):
            kills[-1].append(round(time.monotonic() - started))
        do_what_the_doctor_says(folder)
        project.repro(folder)
        assert kills[-1], "the run ended before it could be disturbed"
        assert project.lock_bytes(folder) == project.lock_bytes(finished_project)
        for path in sorted((finished_project / "metrics").rglob("*.*")):
            assert path.read_bytes() == (folder / path.relative_to(finished_project)).read_bytes(), path
        assert not list((folder / "state").rglob("*.npz"))
    print(f"{sum(map(len, kills))} kills in {len(kills)} runs, at {kills} s")


def test_a_file_that_dvc_was_killed_in_the_middle_of_writing(finished_project: Path, copy: Path) -> None:
    """DVC itself refuses it; the doctor says what to do, and no stage runs anew after it."""
    assert not list(doctor.truncated_dvc_files(copy))
    (copy / ".dvc" / "tmp" / "rwlock").write_text("", encoding="utf-8")
    refused = project.call(copy, "dvc", "repro", check=False)
    assert refused.returncode != 0 and "Unable to read RWLock-file" in refused.stderr
    for name in project.LOCKS:
        content = (copy / name).read_text(encoding="utf-8")
        (copy / name).write_text(content[: content.rindex("cmd") + 2], encoding="utf-8")
    named = [check.text.split()[0] for check in doctor.truncated_dvc_files(copy)]
    assert named == [".dvc/tmp/rwlock", *project.LOCKS]
    (copy / ".dvc" / "tmp" / "rwlock").unlink()
    refused = project.call(copy, "dvc", "repro", check=False)
    assert refused.returncode != 0 and "dvc.lock" in refused.stderr
    do_what_the_doctor_says(copy)
    assert "> python" not in project.call(copy, "dvc", "repro").stdout  # all from the run cache
    assert project.locks(copy) == project.locks(finished_project)


def test_a_training_that_outlives_its_dvc_is_not_joined_by_a_second(copy: Path) -> None:
    """Killing only `dvc` leaves the training alive; the next one is refused, and says by whom."""
    alive = subprocess.Popen(
        ["python", "-m", "stages.stage1", "0"],
        cwd=copy,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        owner = copy / "state" / "training" / "stage1-fold0.owner"
        deadline = time.monotonic() + 120
        while not owner.is_file() or not owner.read_text():
            assert time.monotonic() < deadline and alive.poll() is None
            time.sleep(0.05)
        alive.send_signal(signal.SIGSTOP)  # it trains for no longer than the second one takes to start
        second = project.call(copy, "python", "-m", "stages.stage1", "0", check=False)
        assert second.returncode == 1
        assert f"stage1-fold0 is being trained by process {alive.pid}" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        alive.kill()
        alive.wait()
