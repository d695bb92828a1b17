"""What training and prediction cost against bare calls of the network on ready arrays.

Rows are dicts as in `benchmarks.features`; both sides of a claim are measured in one run, taking turns; medians.
The store of frames is synthetic: the cost of a batch does not depend on what it holds.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from scipy import ndimage

from fsat import presets
from fsat.core.mel_styles import MEL_STYLES
from fsat.inputs import batches, examples
from fsat.inputs.frames import FrameStore
from fsat.inputs.passes import Passes, mean_outputs
from fsat.networks import backend, model, prediction, training

Row = dict[str, Any]

ERASE = SimpleNamespace(probability=0.5, area=(0.02, 0.4), aspect=(0.3, 3.33))
AUGMENT = SimpleNamespace(time_shift=0.6, frequency_shift=0.0, flip_probability=0.5, erase=ERASE)
BOUNDS = (263, 763)
LIMITS = (-90.5, 39.21)
PRESETS = Path(__file__).parents[1] / "presets"


def clips(count: int, *, n_mels: int = 64, seed: int = 0) -> examples.Examples:
    """Clips of noise whose lengths are spread as those of FSDKaggle2018 (percentiles 25 and 75: 263 and 763)."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(450), 0.79, count).astype(np.int64), 30, 3000)
    frames = rng.normal(-40, 15, (int(lengths.sum()), n_mels)).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    store = FrameStore(
        frames, [f"{number}.wav" for number in range(count)], starts, lengths, MEL_STYLES["librosa"].limits
    )
    classes = [f"label{number:02d}" for number in range(41)]
    labels = [classes[number % 41] for number in range(count)]
    return examples.make_examples(store, store.fnames, labels=labels, classes=classes)


def batch_speed(*, runs: int = 45) -> list[Row]:
    """One training batch of 64 at T 450, against one affine image transform a clip, as the original did."""
    some = clips(500)
    rng = np.random.default_rng(1)
    order, partners = rng.permutation(500)[:64], rng.permutation(500)[:64]
    options: dict[str, Any] = {"bounds": (450, 450), "step": 1, "augment": AUGMENT, "alpha": 1.0}

    def ours() -> None:
        batches.training_batch(some, order, partners, rng=np.random.default_rng(2), **options)

    def plain() -> None:
        halves = [np.stack([_affine(some, row, 450, rng) for row in rows]) for rows in (order, partners)]
        weights = rng.beta(1, 1, 64).astype(np.float32)[:, None, None]
        _ = halves[0] * weights + halves[1] * (1 - weights)

    ours()  # the first call takes the memory
    a, b = _alternate(ours, plain, runs)
    name = "a training batch of 64, one core"
    return [{"name": name, "compare_with": "an affine image transform a clip", "speed_up": b / a,
             "target": "at most 10 ms", "ours_ms": a * 1e3, "plain_ms": b * 1e3}]  # fmt: skip


def _affine(some: examples.Examples, row: int, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One clip by the way of the original: crop, then shift and flip as one interpolated affine transform."""
    start, length = int(some.store.starts[row]), int(some.store.lengths[row])
    spectrogram = some.store.frames[start : start + length].T
    if length < n_frames:
        left = int(rng.integers(n_frames - length + 1))
        spectrogram = np.pad(spectrogram, ((0, 0), (left, n_frames - length - left)), mode="symmetric")
    else:
        offset = int(rng.integers(length - n_frames + 1))
        spectrogram = spectrogram[:, offset : offset + n_frames]
    shift = rng.uniform(-0.6, 0.6) * n_frames
    spectrogram = ndimage.affine_transform(spectrogram, np.eye(2), offset=(0, -shift), order=1, mode="nearest")
    return spectrogram[:, ::-1] if rng.random() < 0.5 else spectrogram


def _recipe(batch_size: int) -> training.Recipe:
    p = presets.read("fsdkaggle2018", PRESETS)
    shared = {name: value for name, value in p.train if name in training.Recipe.__dataclass_fields__}
    return training.Recipe(
        seed=1, stage="stage1", fold=0, bounds=BOUNDS, crop_step=1, alpha=1.0, augment=p.augment,
        schedule=p.train.stage1, **shared | {"batch_size": batch_size},
    )  # fmt: skip


def _network() -> keras.Model:
    network = model.build_network(backbone="MobileNetV2", width=1.0, batchnorm_momentum=0.999, n_mels=64, n_classes=41)
    network.compile(backend.adam(), "categorical_crossentropy")
    network.optimizer.build(network.trainable_variables)
    return network


def epoch_speed(*, n_batches: int = 4, runs: int = 5) -> list[Row]:
    """An epoch without validation, against the bare steps on the same batches made before."""
    backend.prepare(1)
    network, some = _network(), clips(64 * n_batches)
    step = backend.training_step(network)
    recipe = _recipe(64)
    weights = np.ones(64, np.float32)
    phase = SimpleNamespace(rate=lambda *_: 1e-4)
    progress = SimpleNamespace(history=[], epoch=0)
    ready = list(training.epoch_batches(some, recipe, epoch=0))
    class_weights = np.ones(41, np.float32)

    def ours() -> None:
        training._run_epoch(network, step, some, class_weights, recipe, phase, progress)  # type: ignore[arg-type]

    def bare() -> None:
        losses = [step(batch, weights) for batch in ready]
        losses[-1]()

    ours()  # the first call compiles, and every T allocates: on both sides
    bare()
    a, b = _alternate(ours, bare, runs)
    frames = sum(batch.mel.shape[2] for batch in ready) * 64
    started = time.perf_counter()
    training.validate(backend.predictor(network), clips(64, seed=1), recipe)
    validation = time.perf_counter() - started
    return [{"name": "a training epoch without validation", "compare_with": "bare steps on ready arrays",
             "overhead": a / b, "target": "at most 1.05", "ours_s": a, "bare_s": b, "clips_per_s": 64 * n_batches / a,
             "frames_per_s": frames / a},
            {"name": "validation of 64 clips at six lengths", "compare_with": f"an epoch of {64 * n_batches} clips",
             "overhead": validation / a, "validation_s": validation}]  # fmt: skip


def predict_speed(*, n_clips: int = 32, runs: int = 5) -> list[Row]:
    """Thirty passes over the test clips, against bare predictions on the same batches made before."""
    backend.prepare(1)
    network, some = _network(), clips(n_clips)
    passes = Passes(batches.fixed_lengths(BOUNDS, 6), 5)
    key = (1, "predict")
    ready = [
        inputs
        for n_frames, number in passes
        for inputs in batches.crop_pass(some, n_frames, 32, (*key, n_frames, number))
    ]
    # Compiled once for both: in a run it is part of the start.
    predictors = {"stage1": prediction.predictor(network)}

    def ours() -> None:
        mean_outputs(predictors, some, passes, n_labels=41, batch_size=32, key=key, name="")

    def bare() -> None:
        for inputs in ready:
            predictors["stage1"](inputs)

    bare()
    a, b = _alternate(ours, bare, runs)
    return [{"name": f"predict, 30 passes over {n_clips} clips", "compare_with": "bare predictions on ready arrays",
             "overhead": a / b, "target": "at most 1.05", "ours_s": a, "bare_s": b}]  # fmt: skip


STARTUP = """
import time; started = time.perf_counter()
import numpy as np
from fsat.networks import model, backend
imported = time.perf_counter()
backend.prepare(1, deterministic={deterministic})
network = model.build_network(backbone="MobileNetV2", width=1.0, batchnorm_momentum=0.9, n_mels=64, n_classes=41)
network.compile(backend.adam(), "categorical_crossentropy")
network.optimizer.build(network.trainable_variables)
step = backend.training_step(network)
built = time.perf_counter()
from fsat.inputs.batches import Batch
batch = Batch(np.zeros((8, 64, 128, 1), np.float32), None, np.eye(41, dtype=np.float32)[:8])
step(batch, np.ones(8, np.float32))()
first = time.perf_counter()
times = []
for _ in range(8):
    t = time.perf_counter(); step(batch, np.ones(8, np.float32))(); times.append(time.perf_counter() - t)
print(imported - started, built - imported, first - built, sorted(times)[4])
"""


def startup(*, runs: int = 3) -> list[Row]:
    """From the start of a training process to the end of its first step, part by part."""
    parts = [_python(STARTUP.format(deterministic=True)) for _ in range(runs)]
    imports, build, first, _ = (statistics.median(column) for column in zip(*parts, strict=True))
    return [{"name": "start of a training until its first step", "total_s": imports + build + first,
             "imports_s": imports, "build_s": build, "first_step_s": first}]  # fmt: skip


def determinism(*, runs: int = 3) -> list[Row]:
    """A step with deterministic ops against one without, on this machine's device."""
    pairs = [[_python(STARTUP.format(deterministic=flag))[3] for flag in (True, False)] for _ in range(runs)]
    with_ops, without = (statistics.median(column) for column in zip(*pairs, strict=True))
    return [{"name": "deterministic ops, a step", "compare_with": "ops as they come", "overhead": with_ops / without,
             "deterministic_ms": with_ops * 1e3, "other_ms": without * 1e3}]  # fmt: skip


MEMORY = """
import re, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from fsat.inputs import batches, examples, frames
from fsat.inputs.passes import Passes, mean_outputs
def anonymous_mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = anonymous_mb()
store = frames.open_frames(sys.argv[1], limits=(0.0, 1.0))
labels = [f"label{number % 41:02d}" for number in range(len(store.fnames))]
some = examples.make_examples(store, store.fnames, labels=labels, classes=sorted(set(labels)))
erase = SimpleNamespace(probability=0.5, area=(0.02, 0.4), aspect=(0.3, 3.33))
augment = SimpleNamespace(time_shift=0.6, frequency_shift=0.0, flip_probability=0.5, erase=erase)
for number in range(50):
    rng = np.random.default_rng(number)
    order, partners = (rng.permutation(len(labels))[:64] for _ in range(2))
    batches.training_batch(some, order, partners, bounds=(263, 763), step=1, augment=augment, alpha=1.0, rng=rng)
print(anonymous_mb() - before, store.frames.nbytes / 2**20)
"""


def memory() -> list[Row]:
    """What the process of a training keeps in memory of an array of log-mel frames of 2 GB, after 50 batches."""
    n_clips, length, n_mels = 10_000, 800, 64
    with tempfile.TemporaryDirectory() as folder:
        # Zeros that take no room on disk: what a page costs in memory does not depend on what it holds.
        shape = (n_clips * length, n_mels)
        np.lib.format.open_memmap(Path(folder) / "frames.npy", mode="w+", dtype="<f4", shape=shape)
        lines = [f"{number}.wav,{number * length},{length}" for number in range(n_clips)]
        (Path(folder) / "index.csv").write_text("\n".join(["fname,start,n_frames", *lines]), encoding="utf-8")
        own_mb, array_mb = _python(MEMORY, folder)
    return [{"name": "memory of training, mel array of 2 GB", "compare_with": "the array",
             "overhead": own_mb / array_mb, "target": "no copy of the array", "own_memory_mb": own_mb,
             "array_mb": array_mb}]  # fmt: skip


def no_op(*, runs: int = 5) -> list[Row]:
    """`dvc repro` with nothing to do, against `dvc version`; needs a pipeline that has run."""
    if not Path("data/submission.csv").is_file():  # else the first call would run the pipeline
        return []
    a, b = _alternate(lambda: _call("dvc", "repro", "-q"), lambda: _call("dvc", "version"), runs)
    return [{"name": "dvc repro with nothing to do", "compare_with": "dvc version", "overhead": a / b,
             "target": "at most 3, and 3 s", "ours_s": a, "dvc_version_s": b}]  # fmt: skip


def all_rows() -> list[Row]:
    """Everything above; about ten minutes on two cores."""
    return [
        *batch_speed(),
        *epoch_speed(),
        *predict_speed(),
        *startup(),
        *determinism(),
        *memory(),
        *no_op(),
    ]


def _alternate(ours: Any, other: Any, runs: int) -> tuple[float, float]:
    """Median wall times in s of two functions that take turns."""
    times: list[tuple[float, float]] = []
    for _ in range(runs):
        started = time.perf_counter()
        ours()
        between = time.perf_counter()
        other()
        times.append((between - started, time.perf_counter() - between))
    first, second = zip(*times, strict=True)
    return statistics.median(first), statistics.median(second)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _python(code: str, *arguments: str) -> list[float]:
    result = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return [float(word) for word in result.stdout.split()]
