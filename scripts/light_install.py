"""Build the wheel, install it with its dependencies into an empty environment, and tag clips there.

    python -m scripts.light_install [--bundle data/bundle] [--clips data/demo] [--limit-mb 450]

Shows that the tagger works without the pipeline's packages, and how large its environment is. Without the run's own
bundle and clips it stops at the size and at `fsat --help`.
"""

import argparse
import csv
import io
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from fsat.core.errors import FsatError

# What the tagger must do without.
ABSENT = ("tensorflow", "keras", "pandas", "scikit-learn", "librosa", "matplotlib", "pyarrow", "dvc", "numba", "av")


def main() -> None:
    """Build, install, measure, tag; exit code 1 with a reason if something of it fails."""
    parser = argparse.ArgumentParser(description="Install the tagger alone and tag clips with it.")
    parser.add_argument("--bundle", type=Path, default=Path("data/bundle"))
    parser.add_argument("--clips", type=Path, default=Path("data/demo"), help="folder of sound files")
    parser.add_argument("--limit-mb", type=float, default=450, help="largest size of the environment, in MB")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder), given.bundle.resolve(), given.clips.resolve(), limit_mb=given.limit_mb)
    except FsatError as error:
        sys.exit(f"light_install: {error}")


def check(folder: Path, bundle: Path, clips: Path, *, limit_mb: float) -> None:
    """Do it in an empty folder; `FsatError` says what failed."""
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ".")
    [wheel] = folder.glob("fsat-*.whl")
    home = folder / "venv"
    venv.create(home, with_pip=True)
    empty = size_mb(home)
    call(home / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    size = size_mb(home)
    names = {line.split("==")[0] for line in call(home / "bin" / "python", "-m", "pip", "freeze").splitlines()}
    print(f"{len(names)} packages, {size:.0f} MB ({empty:.0f} MB of them the empty environment with pip)")
    if unwanted := sorted(names & set(ABSENT)):
        raise FsatError(f"the tagger's environment holds {', '.join(unwanted)}.")
    if size > limit_mb:
        raise FsatError(f"the tagger's environment takes {size:.0f} MB, more than {limit_mb:.0f}.")
    call(home / "bin" / "fsat", "--help", cwd=folder)
    if not (bundle / "bundle.json").is_file() or not clips.is_dir():
        print(f"nothing tagged: {bundle} or {clips} is not there (`dvc repro` makes both)")
        return
    # An awkward clip of the demo cannot be read; that it is named and the others are tagged is the exit code 1.
    done = run(home / "bin" / "fsat", "tag", "--model", bundle, clips, cwd=folder)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    failed = [line for line in done.stderr.splitlines() if line.startswith("fsat: ")]
    if not rows or any(not 0 <= float(row["probability1"]) <= 1 for row in rows):
        raise FsatError(f"no clip of {clips} was tagged: {done.stderr.strip()[-500:]}")
    print(f"{len(rows)} clips tagged, {max(0, len(failed) - 1)} named as unreadable")


def size_mb(folder: Path) -> float:
    """Size of the files below a folder, in MB of 1,000,000 bytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


def call(*words: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command that must end well."""
    done = run(*words, cwd=cwd)
    if done.returncode:
        raise FsatError(f"{' '.join(map(str, words))} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as in a shell that knows nothing of this project."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
