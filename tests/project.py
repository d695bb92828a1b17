"""Clones of the project in a temporary folder, small enough to run from the first stage to the last in a test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

# What runs at the size of TINY.
TRAINING = {"stage1@0", "stage1@1", "stage2@0", "stage2@1"}
FEATURES = {"index", "trim", "filters", "mel", "spectral", "pca", "folds"}

# All stages and phases, two folds, a few steps. `clone` leaves two of the backbone's fifteen blocks.
TINY = {
    "sources.demo.clips_per_class": 2,
    "mel.n_mels": 32,
    "pca.n_components": 8,
    "folds.n_splits": 2,
    "folds.ids": [0, 1],
    "model.backbone": "EfficientAT",
    "model.width": 0.4,
    "model.head": [16],
    "train.batch_size": 64,
    "train.validation_lengths": 2,
    "train.stage1.cyclic.epochs": 2,
    "train.stage1.finetune_low.epochs": 1,
    "train.stage1.finetune_high.epochs": 1,
    "train.stage2.cyclic.epochs": 1,
    "train.stage2.finetune_low.epochs": 1,
    "train.stage2.finetune_high.epochs": 1,
    "tta.lengths": 2,
    "tta.tries": 1,
    "report.listed_clips": 3,
}


def environment() -> dict[str, str]:
    """The environment of this process, with the programs of its virtual environment first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "TQDM_DISABLE": "1"}


def call(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a clone; a failure shows what it printed."""
    result = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)} in {folder}:\n{result.stdout[-6000:]}\n{result.stderr[-6000:]}")
    return result


def clone(folder: Path, **overrides: Any) -> Path:
    """A git repository with the project's files, as they are in the working tree, at the size of `TINY`."""
    folder.mkdir(exist_ok=True)
    listed = call(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and not name.endswith("dvc.lock"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    trunk = folder / "fsat" / "networks" / "efficientat.py"
    blocks, rest = trunk.read_text(encoding="utf-8").split("\n)\n_STEM")
    trunk.write_text(f"{blocks}\n)[3::9]\n_STEM{rest}", encoding="utf-8")
    set_parameters(folder, **(TINY | overrides))
    call(folder, "git", "init", "--quiet")
    commit(folder, "clone")
    return folder


def commit(folder: Path, message: str) -> None:
    """Commit all that git does not ignore."""
    call(folder, "git", "add", "--all")
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    call(folder, "git", *identity, "commit", "--quiet", "--message", message)


def parameter(folder: Path, key: str) -> Any:
    """Value of a dotted key of params.yaml."""
    value = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for name in key.split("."):
        value = value[name]
    return value


def set_parameters(folder: Path, **values: Any) -> None:
    """Set dotted keys of params.yaml."""
    path = folder / "params.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        *sections, leaf = key.split(".")
        section = tree
        for name in sections:
            section = section[name]
        assert leaf in section, f"no parameter {key}"
        section[leaf] = value
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


def repro(folder: Path, *arguments: str) -> list[str]:
    """`dvc repro`; returns the names of the stages that ran or were restored, in order."""
    output = call(folder, "dvc", "repro", *arguments).stdout
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def with_remote(folder: Path, store: Path) -> Path:
    """A clone whose default remote is a folder."""
    store.mkdir(exist_ok=True)
    call(folder, "dvc", "remote", "add", "--quiet", "--default", "store", str(store))
    commit(folder, "remote")
    return folder


def shared_run(folder: Path, *arguments: str) -> set[str]:
    """Run the script; returns the stages whose command ran."""
    output = call(folder, "python", "-m", "scripts.shared_run", *arguments).stdout
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")}


LOCKS = ("dvc.lock", "sources/dvc.lock")


def locks(folder: Path) -> dict[str, dict[str, Any]]:
    """Both lock files: what each stage read and wrote, whatever the order the stages ran in."""
    return {name: yaml.safe_load((folder / name).read_text(encoding="utf-8"))["stages"] for name in LOCKS}


def lock_bytes(folder: Path) -> dict[str, bytes]:
    """Both lock files to the byte."""
    return {name: (folder / name).read_bytes() for name in LOCKS}
