"""What the clip-parallel stages cost: against plain library calls, over two cores, with more and more clips.

Every function returns rows as dicts, one claim each: `name`, `compare_with`, `speed_up` (how many times faster),
`overhead` (how many times as long, or as large) or `share` (of the whole), `target` where there is one, and the
measured figures with their unit in the name. Times of one core are processor time, so that other work on the machine
disturbs them little; times of two cores are wall time.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import yaml
from threadpoolctl import threadpool_limits

from benchmarks import slow_spectral
from fsat import presets
from fsat.clips import audio
from fsat.core.parallel import map_clips
from fsat.features import harmonic, mel, mel_bank, spectral, trim, waveform
from stages.filters import bank_for

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT.parent / "shared/data/fsdkaggle2018_slice", ROOT / "data/demo")
SPECTRAL: dict[str, Any] = {"sample_rate": 44100, "n_fft": 2048, "hop_length": 512, "n_mfcc": 40}
SPECTRAL["bank"] = mel_bank.grouped(bank_for(mel_bank.for_spectral(44100, 2048)))
MEL: dict[str, Any] = {
    "sample_rate": 44100,
    "settings": presets.read("fsdkaggle2018", ROOT / "presets").mel,
}
MEL["bank"] = mel_bank.grouped(bank_for(mel_bank.for_mel(MEL["settings"])))
TRIM: dict[str, Any] = {"sample_rate": 44100, "top_db": 60}
CLIP_STAGES = ("index", "trim", "mel", "spectral")

Clip = tuple[Path, int, int]
Row = dict[str, Any]


def clips(*, every: int = 1) -> list[Clip]:
    """Every n-th clip of the real slice, or of the demo where that is absent, with its trimmed interval."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        sys.exit("benchmarks need clips: run `dvc repro` first, which makes data/demo.")
    # A few clips of the demo are made to be awkward; the comparison is about ordinary ones.
    paths = [path for path in sorted(folder.glob("*/*.wav")) if audio.probe(path).seconds > 0.1][::every]
    return [(path, *trim.trim_clip(path, **TRIM)) for path in paths]


def all_rows() -> list[Row]:
    """All that is measured in processor time of one core; a few minutes."""
    some = clips(every=10)
    with threadpool_limits(1):  # a second thread of BLAS would wait in a busy loop, which counts as work
        rows = [*spectral_speed(some), *spectral_parts(some), *mel_speed(some)]
    # Where a clip takes a few milliseconds it takes many clips to see more than the start of the process.
    return [*rows, *growth(clips(), ("index", "trim", "mel")), *growth(clips(every=5), ("spectral",))]


def scaling_rows() -> list[Row]:
    """Two cores against one: wall times, for a machine that does nothing else; about a quarter of an hour."""
    return scaling(clips())


# --- one core --------------------------------------------------------------------------------------------------------


def spectral_speed(chosen: list[Clip], *, runs: int = 3) -> list[Row]:
    """`fsat.features.spectral` against the same statistics by plain per-clip calls, per second of audio."""
    signals = [audio.load_interval(*clip, 44100) for clip in chosen]
    seconds = sum(map(len, signals)) / 44100
    fast = partial(spectral.spectral_statistics, **SPECTRAL)
    ours, plain = _alternate(
        partial(_each, fast, signals), partial(_each, slow_spectral.spectral_statistics, signals), runs
    )
    return [
        {
            "name": "spectral, one core",
            "compare_with": "plain per-clip librosa and SciPy calls",
            "speed_up": plain / ours,
            "target": "at least 6",
            "ours_s_per_s_of_audio": ours / seconds,
            "plain_s_per_s_of_audio": plain / seconds,
        }
    ]


def spectral_parts(chosen: list[Clip]) -> list[Row]:
    """Where the time of `fsat.features.spectral` goes: processor time of each part without the parts it calls."""
    parts: list[tuple[str, Any, str]] = [
        ("spectrum, roll-off and bands by block", spectral, "_of_spectrum"),
        ("median filters", harmonic, "_running_median"),
        ("soft mask", harmonic, "_soft_mask"),
        ("tunings", harmonic, "tuning"),
        ("resampling", audio, "resample"),
        ("constant-Q filters", harmonic, "_filter_octave"),
        ("constant-Q chroma", harmonic, "_chroma_cqt"),
        ("chroma", spectral, "_chroma"),
        ("extremes of the contrast bands", spectral, "_extremes"),
        ("roll-off, centroid, bandwidth", spectral, "_rolloff_centroid_bandwidth"),
        ("zero crossings", spectral, "_zero_crossing_rate"),
        ("statistics over time", spectral, "_row_statistics"),
        ("envelope", waveform, "envelope_statistics"),
        ("mean spectrum", waveform, "mean_spectrum"),
        ("shape of the mean spectrum", waveform, "spectrum_statistics"),
        ("waveform", waveform, "waveform_statistics"),
    ]
    signals = [audio.load_interval(*clip, 44100) for clip in chosen]
    fast = partial(spectral.spectral_statistics, **SPECTRAL)
    _each(fast, signals)  # filter banks are made once, not per clip
    clock = _PartClock()
    originals = [(module, function, getattr(module, function)) for _, module, function in parts]
    try:
        for (part, module, function), (_, _, original) in zip(parts, originals, strict=True):
            setattr(module, function, clock.watched(part, original))
        clock.watched("log-mel, MFCC and the rest", partial(_each, fast))(signals)
    finally:
        for module, function, original in originals:
            setattr(module, function, original)
    total = sum(clock.spent.values())
    seconds = sum(map(len, signals)) / 44100
    return [
        {
            "name": f"spectral: {part}",
            "compare_with": "all of spectral",
            "share": spent / total,
            "ours_s_per_s_of_audio": spent / seconds,
        }
        for part, spent in sorted(clock.spent.items(), key=lambda item: -item[1])
    ]


def mel_speed(chosen: list[Clip], *, runs: int = 5) -> list[Row]:
    """`fsat.features.mel` against librosa.load, resample and melspectrogram per clip, reading included."""

    def fast(clip: Clip) -> np.ndarray:
        return mel.mel_clip(clip, **MEL)

    error_db = max(float(np.abs(fast(clip) - _librosa_mel(clip).T).max()) for clip in chosen)
    ours, plain = _alternate(partial(_each, fast, chosen), partial(_each, _librosa_mel, chosen), runs)
    seconds = sum(end - start for _, start, end in chosen) / 44100
    return [
        {
            "name": "mel, one core",
            "compare_with": "librosa.load, resample, melspectrogram",
            "speed_up": plain / ours,
            "target": "at least 1.5",
            "ours_s_per_s_of_audio": ours / seconds,
            "plain_s_per_s_of_audio": plain / seconds,
            "largest_difference_db": error_db,
        }
    ]


def _librosa_mel(clip: Clip) -> np.ndarray:
    path, start, end = clip
    x, rate = librosa.load(path, sr=44100)
    y = librosa.resample(x[start:end], orig_sr=rate, target_sr=22050)
    return librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=22050, n_fft=1764, hop_length=220, n_mels=64))


# --- two cores -------------------------------------------------------------------------------------------------------


def scaling(chosen: list[Clip], *, runs: int = 5) -> list[Row]:
    """Two warm workers against one, on clips repeated to so many seconds of one-core work."""
    stages: dict[str, tuple[Callable[[Any], Any], list[Any], float]] = {
        "trim": (partial(trim.trim_clip, **TRIM), [path for path, _, _ in chosen], 15.0),
        "mel": (partial(mel.mel_clip, **MEL), list(chosen), 15.0),
        "spectral": (partial(spectral.clip_statistics, **SPECTRAL), list(chosen), 60.0),
    }
    rows = []
    for name, (work, items, work_s) in stages.items():
        for jobs in (1, 2):
            _consume(work, items, jobs)  # warm: imports, filter banks
        repeats = int(np.ceil(work_s / _wall(partial(_consume, work, items, 1))))
        pairs = [[_wall(partial(_consume, work, items * repeats, jobs)) for jobs in (1, 2)] for _ in range(runs)]
        rows.append(
            {
                "name": f"{name}, two cores",
                "compare_with": "one core, warm",
                "speed_up": statistics.median(one / two for one, two in pairs),
                **({"target": "at least 1.7"} if name == "spectral" else {}),
                "one_core_s": statistics.median(one for one, _ in pairs),
                "two_cores_s": statistics.median(two for _, two in pairs),
                "clips": len(items) * repeats,
            }
        )
    return rows


def _consume(work: Callable[[Any], Any], items: list[Any], jobs: int) -> None:
    for _ in map_clips(work, items, desc=f"benchmark, {jobs} jobs", jobs=jobs):
        pass


# --- more and more clips ---------------------------------------------------------------------------------------------


def growth(chosen: list[Clip], stages: tuple[str, ...], *, factors: tuple[int, ...] = (1, 2, 4, 8, 10)) -> list[Row]:
    """Peak memory and time of the stage scripts, in one process, with the same clips 1, 2, 4, 8 and 10 times.

    `overhead` is the peak at the largest factor over that at the first; `exponent` is that of time, without the start
    of the process (1: linear).
    """
    needed = CLIP_STAGES[: max(map(CLIP_STAGES.index, stages)) + 1]  # each reads what those before it wrote
    peaks: dict[str, list[float]] = {stage: [] for stage in needed}
    times: dict[str, list[float]] = {stage: [] for stage in needed}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sounds" / "audio_train").mkdir(parents=True)
        for number, (path, _, _) in enumerate(chosen * max(factors)):
            shutil.copy(path, folder / "sounds" / "audio_train" / f"{number}.wav")
        parameters = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        parameters["dataset"]["path"] = "sounds"
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
        _run_stage(folder, "filters")
        # A pair of clips first: what a start with all its imports costs, once they have been read from disk.
        for count in (2, 2, *(len(chosen) * factor for factor in factors)):
            lines = ["fname,label", *(f"{number}.wav,{'ab'[number % 2]}" for number in range(count))]
            (folder / "sounds" / "train.csv").write_text("\n".join(lines), encoding="utf-8")
            for stage in needed:
                peak_mb, seconds = _run_stage(folder, stage)
                peaks[stage].append(peak_mb)
                times[stage].append(seconds)
    rows = []
    for stage in stages:
        work = np.maximum(np.array(times[stage][2:]) - times[stage][1], 1e-3)
        slope, _ = np.polyfit(np.log(factors), np.log(work), 1)
        many, few = f"{stage}, {factors[-1]} times the clips", f"{len(chosen)} clips"
        rows += [
            {
                "name": f"{many}: peak memory",
                "compare_with": few,
                "overhead": peaks[stage][-1] / peaks[stage][2],
                "target": "at most 1.1",
                "peak_mb": [round(peak) for peak in peaks[stage][2:]],
            },
            {
                "name": f"{many}: exponent of time",
                "compare_with": few,
                "exponent": float(slope),
                "seconds": [round(second, 2) for second in times[stage][2:]],
            },
        ]
    return rows


# Runs a stage script and prints the peak of its memory in kB and its processor time in s. `ru_maxrss` will not do: it
# starts from the peak of the process that started this one.
MEASURED = """
import re, resource, runpy, sys
sys.argv = [sys.argv[1]]
runpy.run_module(f"stages.{sys.argv[0]}", run_name="__main__")
usage = resource.getrusage(resource.RUSAGE_SELF)
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(peak, usage.ru_utime + usage.ru_stime)
"""


def _run_stage(folder: Path, stage: str) -> tuple[float, float]:
    """Run a stage script in a folder: peak memory in MB and processor time in s."""
    environment = os.environ | {"FSAT_JOBS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("FSAT_DASK", None)
    command = [sys.executable, "-c", MEASURED, stage]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"benchmarks: stage {stage} failed:\n{result.stderr}")
    peak_kb, seconds = result.stdout.splitlines()[-1].split()
    return int(peak_kb) / 1024, float(seconds)


# --- clocks ----------------------------------------------------------------------------------------------------------


class _PartClock:
    """Processor time spent in watched functions, each without the watched functions it calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = [0.0]

    def watched(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function, updated=())
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.process_time() - started
                self.spent[part] = self.spent.get(part, 0.0) + elapsed - self._inner.pop()
                self._inner[-1] += elapsed

        return timed


def _each(function: Callable[[Any], Any], items: list[Any]) -> None:
    for item in items:
        function(item)


def _alternate(ours: Callable[[], None], plain: Callable[[], None], runs: int) -> tuple[float, float]:
    """Median processor times of two functions that take turns, after one turn each that does not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(runs + 1):
        for function, measured in zip((ours, plain), times, strict=True):
            started = time.process_time()
            function()
            if run:
                measured.append(time.process_time() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def _wall(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
