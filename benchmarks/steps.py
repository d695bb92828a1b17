"""Speed, memory and bytes of one network's training in a process of its own: what `portable` and `gpu` measure."""

import hashlib
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from benchmarks.measuring import last_line
from fsat.core import keras_backend, processor

STARTED = time.perf_counter()


@dataclass(frozen=True)
class Task:
    """What a process measures; the defaults are the recipe's network and batch."""

    backbone: str = "MobileNetV2"
    width: float = 1.0
    n_clips: int = 64  # of a batch
    n_frames: int = 512  # T
    backend: str = "tensorflow"
    portable: bool = False
    precision: str = "float32"
    deterministic: bool = True
    crop_step: int = 1  # at 32 XLA compiles on a GPU
    block: int = 1  # steps between two waits for the device
    seconds: float = 3.0  # of timed steps, and of timed predictions
    predict: bool = True  # whether predictions are timed
    more: bool = False  # whether steps at a T that comes first, and the passes of `predict`, are timed
    bytes_only: bool = False  # a short training and its weights' md5 in place of all that
    needs_gpu: bool = False  # without one nothing is measured


def measured(
    task: Task, *, timeout_s: float | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Figures of a task, measured in a new process with these variables."""
    code = "from benchmarks import steps; steps.main()"
    return json.loads(last_line(code, json.dumps(asdict(task)), timeout_s=timeout_s, environment=environment or {}))


def main() -> None:
    """Measure the task of the command line, print its figures as a line of JSON."""
    task = Task(**json.loads(sys.argv[1]))
    processor.limit()
    keras_backend.use(task.backend, portable=task.portable)
    device, version = _device(task.backend)
    figures: dict[str, Any] = {"device": device, "version": version}
    if device or not task.needs_gpu:
        figures |= {"md5": short_training(task)} if task.bytes_only else speed(task, on_gpu=bool(device))
    print(json.dumps(figures))


def _device(backend: str) -> tuple[str, str]:
    """Name of the first GPU, "" where there is none, and version of the backend."""
    library = importlib.import_module(backend)
    if backend == "jax":
        first = library.local_devices()[0]
        name = first.device_kind if first.platform == "gpu" else ""
    else:
        gpus = library.config.list_physical_devices("GPU")
        name = library.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else ""
    return name, f"{backend} {library.__version__}"


def _peak_mb(backend: str) -> float:
    """Most memory of the GPU in use at once, MB."""
    library = importlib.import_module(backend)
    if backend == "jax":
        return library.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20
    return library.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20


def speed(task: Task, *, on_gpu: bool) -> dict[str, Any]:
    """Seconds of a training step and a prediction, of the start and of the first step, and the device's memory."""
    import numpy as np

    from benchmarks import networks
    from fsat.inputs.batches import Batch
    from fsat.networks import backend

    network = _network(task)
    start_s = time.perf_counter() - STARTED
    step, predict = backend.training_step(network, crop_step=task.crop_step), backend.predictor(network)
    weights, rng = np.ones(task.n_clips, np.float32), np.random.default_rng(1)

    def batch(n_frames: int) -> Batch:
        mel = rng.random((task.n_clips, _n_mels(task), n_frames, 1), np.float32)
        return Batch(mel, None, np.eye(41, dtype=np.float32)[np.arange(task.n_clips) % 41])

    def steps(some: Batch, count: int) -> None:
        losses = [step(some, weights) for _ in range(count)]
        losses[-1]()

    fixed = batch(task.n_frames)
    first_s = _timed(lambda: steps(fixed, 1))
    step_s = _median(lambda: steps(fixed, task.block), task.seconds) / task.block
    figures: dict[str, Any] = {"step_s": step_s, "first_s": first_s, "start_s": start_s}
    if task.crop_step > 1:  # each T is compiled, as the first
        figures["new_length_s"] = first_s
    if on_gpu:
        figures["peak_mb"] = _peak_mb(task.backend)
    if task.predict:
        figures["predict_s"] = _median(lambda: predict(fixed.inputs), task.seconds)
    if task.more:
        if task.crop_step == 1:
            new = [batch(task.n_frames - number) for number in range(1, 9)]
            figures["new_length_s"] = statistics.median(_timed(partial(steps, some, 1)) for some in new)
        run = networks.thirty_passes(network, networks.clips(task.n_clips), _bounds(task), batch_size=task.n_clips)
        run()
        figures["passes_s"] = _timed(run)
    return figures


def short_training(task: Task) -> str:
    """md5 of the weights after eight steps or more at two lengths T."""
    import numpy as np

    from benchmarks import networks
    from fsat.networks import backend, training

    network, low = _network(task), task.n_frames
    step = backend.training_step(network, crop_step=task.crop_step)
    recipe = networks.recipe(bounds=(low, low + 32), crop_step=32, batch_size=task.n_clips)
    some = networks.clips(max(8 * task.n_clips, 41))  # of all labels
    for batch in training.epoch_batches(some, recipe, epoch=0):
        loss = step(batch, np.ones(task.n_clips, np.float32))
    loss()
    return hashlib.md5(b"".join(weights.tobytes() for weights in network.get_weights())).hexdigest()  # noqa: S324


def _network(task: Task) -> Any:
    from benchmarks import networks
    from fsat.networks import backend

    backend.prepare(1, precision=task.precision, deterministic=task.deterministic)
    return networks.compiled(task.backbone, task.width, n_mels=_n_mels(task))


def _n_mels(task: Task) -> int:
    return 128 if task.backbone == "EfficientAT" else 64


def _bounds(task: Task) -> tuple[int, int]:
    """Shortest and longest T of the passes: the recipe's at T 512, else in proportion."""
    from benchmarks import networks

    low, high = (max(32, round(bound * task.n_frames / 512)) for bound in networks.BOUNDS)
    return low, high


def _median(call: Callable[[], Any], budget_s: float) -> float:
    """Median seconds after one call that does not count, of as many calls as fit in `budget_s`, at least three."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget_s:
        times.append(_timed(call))
    return statistics.median(times)


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
