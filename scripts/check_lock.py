"""Check that the committed dvc.lock belongs to the committed code and parameters; needs no data.

    python -m scripts.check_lock

`dvc repro --dry --allow-missing` alone does not tell: for a changed stage whose inputs are there it prints "Running
stage" and exits with 0, so both are looked at.
"""

import subprocess
import sys

from scripts.folds import read_parameters


def main() -> None:
    """Exit with an error that names the first stage whose lock is stale."""
    read_parameters()
    result = subprocess.run(["dvc", "repro", "--dry", "--allow-missing"], capture_output=True, text=True, check=False)
    stale = [line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage '")]
    if result.returncode != 0:
        stale += [*result.stderr.strip().splitlines()[-1:], "dvc failed"]
    if stale:
        sys.exit(f"dvc.lock does not belong to this code and these parameters: {stale[0]}\nRun `dvc repro`, commit.")
    print("dvc.lock is up to date.")


if __name__ == "__main__":
    main()
