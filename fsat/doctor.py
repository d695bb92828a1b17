"""What a machine offers for the pipeline and what is missing: the checks behind `fsat doctor`.

Nothing here is changed, and nothing slow is imported: TensorFlow and DVC are asked in processes of their own.
"""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from fsat.core import dvc_files, guard, params, processor
from fsat.core.errors import FsatError, listed

PYTHON = ((3, 11), (3, 13))
GIB = 2**30
MEMORY_GIB = 4.0
_PROBE_S = 120.0


@dataclass(frozen=True)
class Check:
    """One line of the report.

    `status` is "ok", "warn" (works, but look at it) or "missing" (the pipeline or tagging cannot run without).
    """

    name: str
    status: Literal["ok", "warn", "missing"]
    text: str


# Disk space in GiB that a run on a dataset takes: what is downloaded and unpacked, and what stages make of it.
# FSDKaggle2018: zips 4.6; 11,073 clips, about 20 hours of 16 bit mono at 44.1 kHz; frames of 26 kB a second; ten folds
# of two networks, 22 and 14 MB.
NEEDS = {"data/demo": (0.1, 0.4), "data/fsdkaggle2018": (4.6 + 5.9, 3.0)}


def examine(root: Path, *, start_tensorflow: bool = True) -> Iterator[Check]:
    """All checks, for the project in `root`."""
    probe = _start_tensorflow() if start_tensorflow else None  # while the other checks run
    yield python(sys.version_info[:3])
    yield versions(root / "versions.yaml")
    yield cores()
    yield memory(total_memory())
    p, check = parameters(root)
    yield check
    yield computes_with(root, p)
    if (absent := repository(root)) is not None:
        yield absent
    cache, links = dvc(root)
    yield cache
    yield from truncated_dvc_files(root)
    yield from false_entries(root)
    if p is not None:
        yield dataset(root, p.dataset.path, p.dataset.label_column)
        yield initial_weights(root, p.model.weights)
        yield disk(shutil.disk_usage(root).free, root, p.dataset.path, copies=not links)
    if probe is not None:
        yield _tensorflow_finds(probe)


# This machine ------------------------------------------------------------------------------------------------------


def python(version: Sequence[int]) -> Check:
    """Whether this Python is one that the pinned libraries exist for."""
    text = ".".join(map(str, version))
    lowest, highest = (".".join(map(str, limit)) for limit in PYTHON)
    if PYTHON[0] <= tuple(version[:2]) <= PYTHON[1]:
        return Check("Python", "ok", text)
    return Check("Python", "missing", f"{text}: the project needs {lowest} to {highest}")


def versions(pinned: Path) -> Check:
    """Whether the libraries that shape results are installed, in the pinned versions."""
    if not pinned.is_file():
        return Check("libraries", "warn", f"{pinned} is not there: are you in the project's folder?")
    expected = {name: str(version) for name, version in yaml.safe_load(pinned.read_text(encoding="utf-8")).items()}
    found = {name: _installed(name) for name in expected}
    absent = [name for name, version in found.items() if version is None]
    if absent:
        return Check("libraries", "missing", f"not installed: {', '.join(absent)}. Run `make setup`.")
    other = [f"{name} {found[name]} (pinned: {pin})" for name, pin in expected.items() if found[name] != pin]
    if other:
        text = f"not the pinned versions, so bytes may differ: {', '.join(other)}. `make setup` installs those."
        return Check("libraries", "warn", text)
    return Check("libraries", "ok", f"the {len(expected)} of versions.yaml, in these versions")


def cores() -> Check:
    """How many cores this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("CPU cores", "ok", f"{count} (FSAT_JOBS limits how many are used for features)")


def computes_with(root: Path, p: params.Params | None) -> Check:
    """What the processor is, whether the committed lock is its own, and what a run with valid parameters will do."""
    name, flags = processor.name(), processor.flags()
    if not processor.has_avx2():
        text = f"{name}: no x86-64 with AVX2. dvc.lock is not its own: `dvc repro` computes all anew, other last digits"
        return Check("processor", "warn", text)
    text = f"{name}, {'AVX-512' if 'avx512f' in flags else 'AVX2'}. dvc.lock is its own as far as features go"
    if others := processor.settings(processor.LIMITS | processor.ONEDNN | processor.PORTABLE):
        text += f", but the environment sets {', '.join(others)}: unset it, or digits differ"
        return Check("processor", "warn", text)
    if p is not None:
        is_portable = p.train.portable
        networks = "stay within AVX2" if is_portable and p.train.precision == "float32" else "use all that it has"
        text += f"; networks {networks} (train.portable {str(is_portable).lower()})"
        locked = dvc_files.entries(root / "dvc.lock").items()
        entries = [dvc_files.entry(entry) for stage, entry in locked if stage.startswith("stage1")]
        portable = {entry.get("params", {}).get("params.yaml", {}).get("train.portable") for entry in entries}
        if portable - {is_portable}:
            text += ", those of dvc.lock do not: `dvc repro` trains anew"
    return Check("processor", "ok", text)


def total_memory() -> float | None:
    """Main memory in GiB, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (ValueError, OSError, AttributeError):
        return None


def memory(total_gib: float | None) -> Check:
    """Whether a training fits into memory."""
    if total_gib is None:
        return Check("memory", "warn", "this system does not say how much there is")
    if total_gib < MEMORY_GIB:
        return Check("memory", "warn", f"{total_gib:.1f} GiB: a training takes about 2, so close other programs")
    return Check("memory", "ok", f"{total_gib:.1f} GiB")


def disk(free_bytes: int, root: Path, path: str, *, copies: bool) -> Check:
    """Whether what a run on the dataset still has to write fits on the disk."""
    name, free = Path(path).as_posix(), free_bytes / GIB
    if name not in NEEDS:
        return Check("disk", "ok", f"{free:.1f} GiB free; features take about a third of the audio's space")
    source, made = NEEDS[name]
    # Zips do not go into DVC's cache; an unpacked dataset, as an output, does.
    total = (0 if (root / path).exists() else source) + made + copies * (made + source / 2)
    text = f"{free:.1f} GiB free, a run on {path} takes about {total:.1f} more"
    if free < total:
        return Check("disk", "missing", f"{text}. Free some space or move the project.")
    return Check("disk", "ok", text)


# TensorFlow --------------------------------------------------------------------------------------------------------

_PROBE = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
print("fsat-found", tf.__version__, len(tf.config.list_physical_devices("GPU")))
"""


def _start_tensorflow() -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", _PROBE], stdout=pipe, stderr=pipe, text=True, errors="replace")


def _tensorflow_finds(process: "subprocess.Popen[str]") -> Check:
    """What a TensorFlow that was started says about itself and about GPUs."""
    try:
        output, errors = process.communicate(timeout=_PROBE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Check("TensorFlow", "warn", f"did not start within {_PROBE_S:.0f} s")
    gpus = [line.split(" (UUID")[0] for line in _ask(["nvidia-smi", "-L"]).splitlines() if line.startswith("GPU ")]
    return tensorflow(process.returncode, output, errors, gpus=gpus)


def tensorflow(code: int, output: str, errors: str, *, gpus: Sequence[str]) -> Check:
    """Read the probe's answer; `gpus` are those that NVIDIA's driver lists."""
    found = re.search(r"fsat-found (\S+) (\d+)", output)
    if code != 0 or found is None:
        last = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
        return Check("TensorFlow", "missing", f"cannot be imported ({last[0]}). Run `make setup`.")
    version, visible = found[1], int(found[2])
    if visible:
        return Check("TensorFlow", "ok", f"{version}, sees {visible} GPU")
    if gpus:
        text = f"{version}, sees no GPU, but there is {gpus[0]}: run `pip install -e '.[cuda]'` in the venv"
        return Check("TensorFlow", "warn", text)
    return Check("TensorFlow", "ok", f"{version}, sees no GPU: enough for the demo, the full recipe wants one")


# The project -------------------------------------------------------------------------------------------------------


def parameters(root: Path) -> tuple[params.Params | None, Check]:
    """Whether params.yaml is valid; also what it says, None if it is not."""
    try:
        p = params.read(root / "params.yaml")
    except FsatError as error:
        return None, Check("parameters", "missing", str(error))
    return p, Check("parameters", "ok", f"params.yaml is valid: {p.dataset.path}, {p.model.weights}")


def repository(root: Path) -> Check | None:
    """A line where DVC finds no git repository, as in a zip that was downloaded; nothing otherwise."""
    if any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents)):
        return None
    advice = "`git clone` the project, or here `git init && git add . && git commit -m start`"
    return Check("git", "missing", f"no .git in {root.resolve()}: DVC does not run without. {advice}.")


def dvc(root: Path) -> tuple[Check, bool]:
    """Whether DVC is there, and how its cache and the working folder share their space; also whether they do."""
    version = _installed("dvc")
    if version is None:
        return Check("DVC", "missing", "not installed: run `make setup`, or `pip install -e .[pipeline]`"), False
    if not (root / ".dvc").is_dir():
        return Check("DVC", "missing", f"{version}, but no .dvc here: go to the project's folder"), False
    ask = [sys.executable, "-m", "dvc"]  # the DVC of this environment
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    configured = _ask([*ask, "config", "cache.type"], root).strip() or "reflink,copy"
    supported = re.search(r"^Cache types: (.+)$", _ask([*ask, "doctor"], root), re.MULTILINE)
    return cache_type(version, configured, supported[1] if supported else "", is_root=is_root)


def truncated_dvc_files(root: Path) -> Iterator[Check]:
    """A line for each file that DVC was killed in the middle of writing, and refuses to read from then on.

    DVC writes these in place, unlike outputs and the cache. Nothing is lost with them: the first says which processes
    are at work, the others are written anew from the run cache.
    """
    for name in (".dvc/tmp/rwlock", "dvc.lock", "sources/dvc.lock"):
        path = root / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            whole = isinstance(yaml.safe_load(text), dict)  # JSON is YAML
        except yaml.YAMLError:
            whole = False
        if not whole or (name.endswith("dvc.lock") and not text.endswith("\n")):
            advice = f"{name} was cut off when DVC was killed. While no `dvc` runs here: `rm {name}`"
            yield Check("DVC files", "missing", advice)


def false_entries(root: Path) -> Iterator[Check]:
    """A line where `dvc.lock` says of a stage what it was not run with."""
    with contextlib.chdir(root):
        try:
            guard.refuse_false_entries()
        except FsatError as error:
            yield Check("dvc.lock", "missing", str(error))


def cache_type(version: str, configured: str, supported: str, *, is_root: bool) -> tuple[Check, bool]:
    """Judge `cache.type` against what the file system can do; also whether files are shared with the cache.

    `configured` and `supported` are comma-separated names; `supported` as `dvc doctor` prints it, empty before the
    first run.
    """
    wanted = [name.strip() for name in configured.split(",")]
    kinds = [name for name in ("reflink", "hardlink", "symlink") if re.search(rf"\b{name}\b", supported)]
    used = next((name for name in wanted if name == "copy" or name in kinds), "copy")
    text = f"{version}, cache.type {configured}"
    if not supported:
        return Check("DVC", "ok", f"{text} (what the disk supports shows after a run)"), False
    copied = "copied, so every output takes its space twice"
    text += f": files are {copied if used == 'copy' else f'shared with the cache by {used}'}"
    if used in ("hardlink", "symlink") and is_root:
        text += ". You are root: writing to an output would damage the cache without a word. Take cache.type copy."
        return Check("DVC", "warn", text), True
    return Check("DVC", "ok", text), used != "copy"


def dataset(root: Path, path: str, label_column: str = "") -> Check:
    """Whether the dataset is there and complete, by its tables and file names; no audio is decoded."""
    from fsat.clips import layouts

    if not (root / path).exists():
        if Path(path).as_posix() in NEEDS:
            how = "made" if path == "data/demo" else "downloaded"
            return Check("dataset", "ok", f"{path} is not there yet: `dvc repro` has it {how}")
        return Check("dataset", "missing", f"{path} does not exist. Set dataset.path to a folder of clips.")
    if dangling := sorted(_dangling_links(root / path)):
        what = f"{path}: links that lead nowhere, at which DVC stops before any stage runs: {listed(dangling)}"
        return Check("dataset", "missing", f"{what}. Put their files back, or remove the links: `rm LINK`.")
    try:
        listing = layouts.read(root / path, label_column=label_column)
    except FsatError as error:
        return Check("dataset", "missing", str(error))
    counts = {split: int((listing.table["split"] == split).sum()) for split in ("train", "test")}
    text = f"{path}: {counts['train']} training clips, {counts['test']} test clips"
    is_bad = (listing.table["problem"] != "") & (listing.table["split"] == "train")
    if problems := len(listing.problems) + int(is_bad.sum()):
        return Check("dataset", "missing", f"{text}, {problems} problems. `dvc repro index` lists them.")
    return Check("dataset", "ok", f"{text}, all files there")


def _dangling_links(folder: Path) -> Iterator[str]:
    """Symbolic links below a folder whose target does not exist."""
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink() and not path.exists():
                yield path.relative_to(folder).as_posix()


def initial_weights(root: Path, path: str) -> Check:
    """Whether the network's initial weights are there, or made by a source."""
    if (root / path).is_file():
        return Check("weights", "ok", path)
    sources = {"random": "makes", "imagenet": "downloads", "audioset": "downloads"}
    if how := {f"data/pretrained/{name}.weights.h5": how for name, how in sources.items()}.get(Path(path).as_posix()):
        return Check("weights", "ok", f"{path} is not there yet: `dvc repro` {how} it")
    return Check("weights", "missing", f"{path} does not exist. Set model.weights to a .weights.h5 file.")


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ask(command: Sequence[str], folder: Path | None = None) -> str:
    """Standard output of a command; empty if it fails or hangs."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
