"""Run the pipeline on a machine that shares its results with others through a DVC remote.

    python -m scripts.shared_run                          fetch, run what changed, give back
    python -m scripts.shared_run --against origin/main --table table.md
    python -m scripts.shared_run --folds 0,1,2            this machine's folds only

Fetched are the files of dvc.lock and the run cache: what any machine ever computed from the same inputs. So `dvc repro`
runs only what nobody has run. Results go to the remote after each fold: a run that is killed loses at most one fold.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from fsat.core import guard
from fsat.core.errors import FsatError
from scripts.folds import MATRIX, read_parameters


def dvc(*arguments: str, hint: str = "") -> str:
    """Run DVC, show each line when it comes, return all. Ends the script if DVC fails."""
    command = ["dvc", *arguments]
    print(f"$ {' '.join(command)}", flush=True)
    # Python keeps lines for a pipe back until it has 8 KiB of them.
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}{hint}")
    return "".join(lines)


def _remote() -> Any:
    with Repo() as repo:
        return repo.cloud.get_remote_odb()


def check_remote() -> None:
    """End the script if DVC would take a remote that cannot be read for an empty one, and train anew what it holds."""
    try:
        remote = _remote()
    except (DvcException, ImportError) as error:  # the latter: no plugin for this kind of remote
        sys.exit(f"no DVC remote to share results through: {error}")
    if remote.fs.protocol in ("http", "https"):
        sys.exit(f"{remote.path}: DVC has no run cache over HTTP. Share results through another kind of remote.")
    if remote.fs.protocol == "local":
        errors: list[OSError] = []
        for _ in os.walk(Path(remote.path).parents[1], onerror=errors.append):  # the folder of files/md5
            pass
        if errors:
            sys.exit(
                f"{errors[0].filename}: the DVC remote cannot be read ({errors[0].strerror}). Mount it, or ask its "
                "owner for the right to read; before the very first run make the folder."
            )


def pull() -> None:
    """Fetch all that the remote has of dvc.lock and the run cache; what it lacks, no machine has run."""
    hint = ". The remote refuses, or is out of reach: the same command without --quiet says why. Nothing was trained."
    dvc("pull", "--quiet", "--run-cache", "--allow-missing", hint=hint)


def push() -> None:
    """Give the remote all results that it does not have, and nothing that was not run as the lock says."""
    try:
        guard.refuse_false_entries()
    except FsatError as error:
        sys.exit(str(error))
    dvc("push", "--quiet", "--run-cache")


def main() -> None:
    """Fetch, run fold by fold, give back, compare."""
    parser = argparse.ArgumentParser(description="Run the pipeline and share its results through the DVC remote.")
    parser.add_argument("--folds", help="folds to train and predict here, such as 0,1,2; default: the whole pipeline")
    parser.add_argument("--against", metavar="REVISION", help="git revision to compare metrics with")
    parser.add_argument("--table", type=Path, default=Path("metrics_diff.md"), help="where the comparison is written")
    arguments = parser.parse_args()
    ids = read_parameters().folds.ids
    folds = arguments.folds.split(",") if arguments.folds else ids
    check_remote()
    pull()
    for fold in folds:
        if "Running stage '" in dvc("repro", "--pull", *(f"{stage}@{fold}" for stage in MATRIX)):
            push()
    if not arguments.folds:
        dvc("repro", "--pull")
    push()
    if arguments.against:
        table = dvc("metrics", "diff", "--md", arguments.against)
        title = f"Metrics against `{arguments.against}`"
        arguments.table.write_text(f"{title}\n\n{table or 'No metric has changed.'}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
