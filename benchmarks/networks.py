"""What training and prediction cost against bare calls of the network on ready arrays.

Both sides of a claim are measured in one run, taking turns; medians. The store of frames is synthetic: the cost of a
batch does not depend on what it holds.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy import ndimage

from benchmarks.measuring import ROOT, Row, alternate, python, row
from benchmarks.steps import Task, measured
from fsat import presets
from fsat.core.mel_styles import MEL_STYLES
from fsat.inputs import batches, examples
from fsat.inputs.frames import FrameStore
from fsat.inputs.passes import Passes, mean_outputs
from fsat.networks import backend, checkpoint, model, prediction, schedule, training

P = presets.read("fsdkaggle2018", ROOT / "presets")
BOUNDS = (263, 763)


def clips(count: int, *, seed: int = 0) -> examples.Examples:
    """Clips of noise whose lengths are spread as those of FSDKaggle2018 (percentiles 25 and 75: 263 and 763)."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(450), 0.79, count).astype(np.int64), 30, 3000)
    frames = rng.normal(-40, 15, (int(lengths.sum()), 64)).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    names = [f"{number}.wav" for number in range(count)]
    store = FrameStore(frames, names, starts, lengths, MEL_STYLES["librosa"].limits)
    labels = [f"label{number % 41:02d}" for number in range(count)]
    return examples.make_examples(store, store.fnames, labels=labels, classes=sorted(set(labels)))


def batch_speed(*, runs: int = 45) -> list[Row]:
    """One training batch of 64 at T 450, against one affine image transform a clip, as the original did."""
    some = clips(500)
    rng = np.random.default_rng(1)
    order, partners = rng.permutation(500)[:64], rng.permutation(500)[:64]
    options: dict[str, Any] = {"bounds": (450, 450), "step": 1, "augment": P.augment, "alpha": 1.0}

    def ours() -> None:
        batches.training_batch(some, order, partners, rng=np.random.default_rng(2), **options)

    def plain() -> None:
        halves = [np.stack([_affine(some, row, 450, rng) for row in rows]) for rows in (order, partners)]
        weights = rng.beta(1, 1, 64).astype(np.float32)[:, None, None]
        _ = halves[0] * weights + halves[1] * (1 - weights)

    a, b = alternate(ours, plain, runs)
    figures = {"speed_up": b / a, "target": "at most 10 ms", "ours_ms": a * 1e3, "plain_ms": b * 1e3}
    return [row("a training batch of 64, one core", "an affine image transform a clip", **figures)]


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


def compiled(backbone: str = "MobileNetV2", width: float = 1.0, *, n_mels: int = 64) -> keras.Model:
    """A network of 41 labels with its optimiser built; `backend.prepare` goes before."""
    network = model.build_network(backbone=backbone, width=width, batchnorm_momentum=0.999, n_mels=n_mels, n_classes=41)
    network.compile(backend.adam(), "categorical_crossentropy")
    network.optimizer.build(network.trainable_variables)
    return network


def recipe(**changes: Any) -> training.Recipe:
    """Stage 1 of FSDKaggle2018's preset; `changes` are fields of `training.Recipe`."""
    shared = {name: value for name, value in P.train if name in training.Recipe.__dataclass_fields__}
    plain: dict[str, Any] = {
        "seed": 1, "stage": "stage1", "fold": 0, "bounds": BOUNDS, "crop_step": 1, "alpha": 1.0, "augment": P.augment,
        "schedule": P.train.stage1,
    }  # fmt: skip
    return training.Recipe(**plain | shared | changes)


def thirty_passes(
    network: keras.Model, some: examples.Examples, bounds: tuple[int, int], *, batch_size: int
) -> Callable[[], Any]:
    """Function that does what `predict` does with one network: six lengths, five spans each, of all clips."""
    predictors = {"stage1": prediction.predictor(network)}  # compiled once: in a run it is part of the start
    passes = Passes(batches.fixed_lengths(bounds, 6), 5)
    options: dict[str, Any] = {"n_labels": 41, "batch_size": batch_size, "key": (1, "predict"), "name": ""}
    return lambda: mean_outputs(predictors, some, passes, **options)


def epoch_speed(*, n_batches: int = 4, runs: int = 5) -> list[Row]:
    """An epoch without validation, against the bare steps on the same batches made before."""
    backend.prepare(1)
    network, some, plan = compiled(), clips(64 * n_batches), recipe(batch_size=64)
    step = backend.training_step(network)
    weights = np.ones(64, np.float32)
    phase = schedule.Phase("finetune_low", P.train.stage1.finetune_low, 1)
    ready = list(training.epoch_batches(some, plan, epoch=0))
    class_weights = np.ones(41, np.float32)

    def ours() -> None:
        training._run_epoch(network, step, some, class_weights, plan, phase, checkpoint.Progress())

    def bare() -> None:
        losses = [step(batch, weights) for batch in ready]
        losses[-1]()

    a, b = alternate(ours, bare, runs)
    frames = sum(batch.mel.shape[2] for batch in ready) * 64
    started = time.perf_counter()
    training.validate(backend.predictor(network), clips(64, seed=1), plan)
    validation = time.perf_counter() - started
    figures = {"ours_s": a, "bare_s": b, "clips_per_s": 64 * n_batches / a, "frames_per_s": frames / a}
    name, epoch = "a training epoch without validation", f"an epoch of {64 * n_batches} clips"
    return [
        row(name, "bare steps on ready arrays", overhead=a / b, target="at most 1.05", **figures),
        row("validation of 64 clips at six lengths", epoch, overhead=validation / a, validation_s=validation),
    ]


def predict_speed(*, n_clips: int = 32, runs: int = 5) -> list[Row]:
    """Thirty passes over the test clips, against bare predictions on the same batches made before."""
    backend.prepare(1)
    network, some = compiled(), clips(n_clips)
    lengths = batches.fixed_lengths(BOUNDS, 6)
    ready = [inputs for n_frames in lengths for inputs in batches.crop_pass(some, n_frames, 32, (1,))] * 5
    predict = prediction.predictor(network)

    def bare() -> None:
        for inputs in ready:
            predict(inputs)

    a, b = alternate(thirty_passes(network, some, BOUNDS, batch_size=32), bare, runs)
    figures = {"overhead": a / b, "target": "at most 1.05", "ours_s": a, "bare_s": b}
    return [row(f"predict, 30 passes over {n_clips} clips", "bare predictions on ready arrays", **figures)]


def startup(*, runs: int = 3) -> list[Row]:
    """From the start of a training to the end of its first step; a step with deterministic ops against one without."""
    small = Task(n_clips=8, n_frames=128, predict=False)
    tasks = (small, replace(small, deterministic=False))
    pairs = [[measured(task) for task in tasks] for _ in range(runs)]
    start, first, step = (
        statistics.median(pair[0][name] for pair in pairs) for name in ("start_s", "first_s", "step_s")
    )
    without = statistics.median(pair[1]["step_s"] for pair in pairs)
    figures = {"overhead": step / without, "deterministic_ms": step * 1e3, "other_ms": without * 1e3}
    return [
        row("start of a training until its first step", total_s=start + first, first_step_s=first),
        row("deterministic ops, a step", "ops as they come", **figures),
    ]


MEMORY = """
import re, sys
from pathlib import Path
import numpy as np
from fsat import presets
from fsat.inputs import batches, examples, frames
def anonymous_mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = anonymous_mb()
store = frames.open_frames(sys.argv[1], limits=(0.0, 1.0))
labels = [f"label{number % 41:02d}" for number in range(len(store.fnames))]
some = examples.make_examples(store, store.fnames, labels=labels, classes=sorted(set(labels)))
augment = presets.read("fsdkaggle2018", Path("presets")).augment
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
        own_mb, array_mb = python(MEMORY, folder)
    figures = {"target": "no copy of the array", "own_memory_mb": own_mb, "array_mb": array_mb}
    return [row("memory of training, mel array of 2 GB", "the array", overhead=own_mb / array_mb, **figures)]


def no_op(*, runs: int = 5) -> list[Row]:
    """`dvc repro` with nothing to do, against `dvc version`; needs a pipeline that has run."""
    if not Path("data/submission.csv").is_file():  # else the first call would run the pipeline
        return []
    run = partial(subprocess.run, check=True, capture_output=True)
    a, b = alternate(partial(run, ["dvc", "repro", "-q"]), partial(run, ["dvc", "version"]), runs)
    figures = {"overhead": a / b, "target": "at most 3, and 3 s", "ours_s": a, "dvc_version_s": b}
    return [row("dvc repro with nothing to do", "dvc version", **figures)]


def all_rows() -> list[Row]:
    """Everything above; about ten minutes on two cores."""
    return [*batch_speed(), *epoch_speed(), *predict_speed(), *startup(), *memory(), *no_op()]
