"""Small stores of frames and plain parameters that many tests use."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the cores; before TensorFlow and NumPy are imported
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported: tests report nothing to anybody

import stages  # noqa: F401, I001  (its limits of the processor, before NumPy is imported)
import filelock
import numpy as np
import pytest

import project
from fsat.core import params
from fsat.core.mel_styles import MEL_STYLES
from fsat.inputs import examples
from fsat.inputs.frames import FrameStore

LIMITS = MEL_STYLES["librosa"].limits


def make_store(lengths: list[int], *, n_mels: int = 8, seed: int = 0) -> FrameStore:
    """A store of clips "clip0.wav", ... whose frame t of clip c has the value 1000 c + t in bin 0, noise above."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    array = rng.normal(-40, 10, (sum(lengths), n_mels)).astype(np.float32)
    array[:, 0] = np.concatenate([1000 * clip + np.arange(length) for clip, length in enumerate(lengths)])
    return FrameStore(array, [f"clip{clip}.wav" for clip in range(len(lengths))], starts, np.array(lengths), LIMITS)


# The longest file, which also makes the run that most others wait for; then one that does without that run.
FIRST = ("test_kill.py", "test_fuzz.py")


def start_order(path: Path) -> int:
    """Files with whole runs start first, so that the processes that share the tests end at about the same time."""
    if path.parent.name != "pipeline":
        return len(FIRST) + 1
    return FIRST.index(path.name) if path.name in FIRST else len(FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file only: within a file, and among the other files, the order stays."""
    items.sort(key=lambda item: start_order(item.path))


@pytest.fixture(autouse=True)
def no_limit_is_left() -> Iterator[None]:
    """oneDNN reads its limit once a process: a test that leaves it set changes the digits of all that follow."""
    before = os.environ.get("ONEDNN_MAX_CPU_ISA")
    yield
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == before, "a stage ran with train.portable: true"


def made_once(name: str, make: Callable[[Path], object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all tests of this run, which must not change it: whichever process comes first makes it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with filelock.FileLock(root / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which every stage has run and the result is committed.

    Tests must not change it, nor call DVC in it: every DVC command writes `.dvc/tmp`, while another process copies it.
    """

    def make(folder: Path) -> None:
        project.clone(folder)
        project.repro(folder)
        project.commit(folder, "run")

    return made_once("finished", make, tmp_path_factory)


@pytest.fixture
def copy(finished_project: Path, tmp_path: Path) -> Path:
    """A copy of the finished clone that a test may change."""
    return Path(shutil.copytree(finished_project, tmp_path / "copy", symlinks=True))


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """EfficientAT with two of its fifteen blocks: quick to build, to trace and to convert."""
    from fsat.networks import efficientat

    monkeypatch.setattr(efficientat, "BLOCKS", efficientat.BLOCKS[3::9])


def augmentation(**erase: float | tuple[float, float]) -> params.Augment:
    """The recipe's augmentation, with other values of `augment.erase` where they are given."""
    values = {"probability": 0.5, "area": (0.02, 0.4), "aspect": (0.3, 3.33)} | erase
    return params.Augment.model_validate(
        {"time_shift": 0.6, "frequency_shift": 0.0, "flip_probability": 0.5, "erase": values}
    )


@pytest.fixture
def no_augmentation() -> params.Augment:
    nothing = {"time_shift": 0.0, "flip_probability": 0.0}
    return augmentation(probability=0.0).model_copy(update=nothing)


@pytest.fixture
def recipe_augmentation() -> params.Augment:
    return augmentation()


def make_examples(
    lengths: list[int], labels: list[str], *, n_components: int = 0, n_mels: int = 8
) -> examples.Examples:
    """Examples of `make_store` with labels, and random components if asked for."""
    import pandas as pd

    store = make_store(lengths, n_mels=n_mels)
    components = None
    if n_components:
        values = np.random.default_rng(1).normal(size=(len(lengths), n_components)).astype(np.float32)
        components = pd.DataFrame(values, columns=[f"pc{number:03d}" for number in range(n_components)])
        components.insert(0, "fname", store.fnames)
    return examples.make_examples(
        store, store.fnames, labels=labels, classes=sorted(set(labels)), components=components
    )
