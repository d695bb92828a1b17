"""Run the pipeline on a machine that shares its results with others through a DVC remote.

    python -m scripts.shared_run                          fetch, run what changed, give back
    python -m scripts.shared_run --against origin/main --table table.md
    python -m scripts.shared_run --folds 0,1,2            this machine's folds only

Fetched are the files of dvc.lock and the run cache: what any machine ever computed from the same inputs. So `dvc repro`
runs only what nobody has run; what it ran goes to the remote before the table of metrics is written.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from scripts.folds import MATRIX


def dvc(*arguments: str, check: bool = True) -> str:
    """Run DVC and show what it says; returns its standard output. Ends the script if it fails and `check` is set."""
    command = ["dvc", *arguments]
    print(f"$ {' '.join(command)}", flush=True)
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(result.stdout, end="", flush=True)
    if check and result.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return result.stdout


def main() -> None:
    """Fetch, run, give back, compare."""
    parser = argparse.ArgumentParser(description="Run the pipeline and share its results through the DVC remote.")
    parser.add_argument("--folds", help="folds to train and predict here, such as 0,1,2; default: the whole pipeline")
    parser.add_argument("--against", metavar="REVISION", help="git revision to compare metrics with")
    parser.add_argument("--table", type=Path, default=Path("metrics_diff.md"), help="where the comparison is written")
    arguments = parser.parse_args()
    # Stages that never ran here, and sources not in use, have nothing to fetch.
    dvc("pull", "--quiet", "--run-cache", "--allow-missing", check=False)
    targets = [f"{stage}@{fold}" for fold in arguments.folds.split(",") for stage in MATRIX] if arguments.folds else []
    dvc("repro", "--pull", *targets)
    dvc("push", "--quiet", "--run-cache")
    if arguments.against:
        table = dvc("metrics", "diff", "--md", arguments.against)
        title = f"Metrics against `{arguments.against}`"
        arguments.table.write_text(f"{title}\n\n{table or 'No metric has changed.'}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
