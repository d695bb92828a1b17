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

from fsat.core import guard, params
from fsat.core.errors import FsatError
from scripts.folds import MATRIX


def dvc(*arguments: str, check: bool = True) -> str:
    """Run DVC, show each line when it comes, return all. Ends the script if DVC fails and `check` is set."""
    command = ["dvc", *arguments]
    print(f"$ {' '.join(command)}", flush=True)
    # Python keeps lines for a pipe back until it has 8 KiB of them.
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if check and process.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return "".join(lines)


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
    folds = arguments.folds.split(",") if arguments.folds else params.read().folds.ids
    # Stages that never ran here, and sources not in use, have nothing to fetch.
    dvc("pull", "--quiet", "--run-cache", "--allow-missing", check=False)
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
