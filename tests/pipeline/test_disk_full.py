"""A full disk in the middle of a stage: a clear error, nothing half-written, and a later run completes.

The disk is a limit on the size of files, which gives the same errors and needs no rights.
"""

import hashlib
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import project


def run_stage(folder: Path, *stage: str, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a stage script, as DVC does: its outputs are removed first. `largest_file` in bytes."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    command = [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]]
    return subprocess.run(
        command, cwd=folder, env=project.environment(), capture_output=True, text=True, check=False, preexec_fn=limit
    )


def digests(folder: Path) -> dict[str, str]:
    """Content of every file below a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Of a training, the state after an epoch, optimiser included, is larger than the weights.
@pytest.mark.parametrize(
    ("stage", "out", "file", "share"),
    [("mel", "data/mel", "train/frames.npy", 0.5), ("stage1 0", "data/models/stage1/fold0", "model.weights.h5", 1.5)],
)
def test_in_the_middle_of_a_stage(copy: Path, stage: str, out: str, file: str, share: float) -> None:
    folder = copy / out
    whole, size = digests(folder), (folder / file).stat().st_size
    shutil.rmtree(folder)
    result = run_stage(copy, *stage.split(), largest_file=int(size * share))
    assert result.returncode == 1
    assert "no space left to write" in result.stderr and "Traceback" not in result.stderr
    assert ("epoch    1" in result.stdout) == (stage == "stage1 0")
    assert digests(folder) == {}
    assert not [path for path in (copy / "state").rglob("*") if path.suffix in (".npz", ".part")]
    assert run_stage(copy, *stage.split()).returncode == 0
    assert digests(folder) == whole
