"""Build the wheel, install it with its dependencies into an empty environment, and tag the demo's clips there.

    python -m scripts.light_install

Shows that the tagger works without the pipeline's packages, and how large its environment is. Without the run's own
bundle and clips it stops at the size and at `fsat --help`.
"""

import csv
import io
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

# What the tagger must do without.
ABSENT = {"tensorflow", "keras", "pandas", "scikit-learn", "librosa", "matplotlib", "pyarrow", "dvc", "numba", "av"}
LIMIT_MB = 450
BUNDLE, CLIPS = Path("data/bundle").resolve(), Path("data/demo").resolve()


def check(folder: Path) -> None:
    """Build, install, measure, tag in an empty folder; exit code 1 with a reason if something of it fails."""
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ".")
    [wheel] = folder.glob("fsat-*.whl")
    home = folder / "venv"
    venv.create(home, with_pip=True)
    empty = size_mb(home)
    call(home / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    size = size_mb(home)
    names = {line.split("==")[0] for line in call(home / "bin" / "python", "-m", "pip", "freeze").splitlines()}
    print(f"{len(names)} packages, {size:.0f} MB ({empty:.0f} MB of them the empty environment with pip)")
    if unwanted := sorted(names & ABSENT):
        sys.exit(f"light_install: the tagger's environment holds {', '.join(unwanted)}.")
    if size > LIMIT_MB:
        sys.exit(f"light_install: the tagger's environment takes {size:.0f} MB, more than {LIMIT_MB}.")
    call(home / "bin" / "fsat", "--help", cwd=folder)
    if not (BUNDLE / "bundle.json").is_file() or not CLIPS.is_dir():
        print(f"nothing tagged: {BUNDLE} or {CLIPS} is not there (`dvc repro` makes both)")
        return
    # An awkward clip of the demo cannot be read; that it is named and the others are tagged is the exit code 1.
    done = run(home / "bin" / "fsat", "tag", "--model", BUNDLE, CLIPS, cwd=folder)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    failed = [line for line in done.stderr.splitlines() if line.startswith("fsat: ")]
    if not rows or any(not 0 <= float(row["probability1"]) <= 1 for row in rows):
        sys.exit(f"light_install: no clip of {CLIPS} was tagged: {done.stderr.strip()[-500:]}")
    print(f"{len(rows)} clips tagged, {max(0, len(failed) - 1)} named as unreadable")


def size_mb(folder: Path) -> float:
    """Size of the files below a folder, in MB of 1,000,000 bytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


def call(*words: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command that must end well."""
    done = run(*words, cwd=cwd)
    if done.returncode:
        sys.exit(f"light_install: {' '.join(map(str, words))} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as in a shell that knows nothing of this project."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        check(Path(name))
