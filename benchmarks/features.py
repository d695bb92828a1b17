"""What the clip-parallel stages cost: against plain library calls, with more and more clips.

All is measured in processor time of one core, so that other work on the machine disturbs it little.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest import mock

import librosa
import numpy as np
import yaml
from threadpoolctl import threadpool_limits

from benchmarks import slow_spectral
from benchmarks.measuring import PEAK_MB, ROOT, Row, alternate, python, row
from fsat import presets
from fsat.clips import audio
from fsat.features import harmonic, median, mel, mel_bank, spectral, trim, waveform
from stages.filters import bank_for

FOLDERS = (ROOT.parent / "shared/data/fsdkaggle2018_slice", ROOT / "data/demo")
SPECTRAL: dict[str, Any] = {"sample_rate": 44100, "n_fft": 2048, "hop_length": 512, "n_mfcc": 40}
SPECTRAL["bank"] = mel_bank.grouped(bank_for(mel_bank.for_spectral(44100, 2048)))
MEL: dict[str, Any] = {"sample_rate": 44100, "settings": presets.read("fsdkaggle2018", ROOT / "presets").mel}
MEL["bank"] = mel_bank.grouped(bank_for(mel_bank.for_mel(MEL["settings"])))
CLIP_STAGES = ("index", "trim", "mel", "spectral")

Clip = tuple[Path, int, int]


def clips(*, every: int = 1) -> list[Clip]:
    """Every n-th clip of the real slice, or of the demo where that is absent, with its trimmed interval."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        sys.exit("benchmarks need clips: run `dvc repro` first, which makes data/demo.")
    # A few clips of the demo are made to be awkward; the comparison is about ordinary ones.
    paths = [path for path in sorted(folder.glob("*/*.wav")) if audio.probe(path).seconds > 0.1][::every]
    return [(path, *trim.trim_interval(audio.load(path, 44100), top_db=60)) for path in paths]


def _of_clip(clip: Clip, *, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return work(audio.load_interval(*clip, 44100))


def all_rows() -> list[Row]:
    """Everything below; a few minutes."""
    some = clips(every=10)
    with threadpool_limits(1):  # a second thread of BLAS would wait in a busy loop, which counts as work
        rows = [*spectral_speed(some), *spectral_parts(some), *mel_speed(some)]
    # Where a clip takes a few milliseconds it takes many clips to see more than the start of the process.
    return [*rows, *growth(clips(), ("index", "trim", "mel")), *growth(clips(every=5), ("spectral",))]


# --- one core --------------------------------------------------------------------------------------------------------


def spectral_speed(chosen: list[Clip], *, runs: int = 3) -> list[Row]:
    """`fsat.features.spectral` against the same statistics by plain per-clip calls, per second of audio."""
    signals = [audio.load_interval(*clip, 44100) for clip in chosen]
    fast = partial(_each, partial(spectral.spectral_statistics, **SPECTRAL), signals)
    slow = partial(_each, slow_spectral.spectral_statistics, signals)
    ours, plain = np.array(alternate(fast, slow, runs, clock=time.process_time)) / (sum(map(len, signals)) / 44100)
    return [
        row(
            "spectral, one core", "plain per-clip librosa and SciPy calls", speed_up=plain / ours,
            target="at least 10", ours_s_per_s_of_audio=ours, plain_s_per_s_of_audio=plain,
        )
    ]  # fmt: skip


def spectral_parts(chosen: list[Clip]) -> list[Row]:
    """Where the time of `fsat.features.spectral` goes: processor time of each part without the parts it calls."""
    parts: list[tuple[str, Any, str]] = [
        ("spectrum, roll-off and bands by block", spectral, "_of_spectrum"),
        ("median filters", median, "running"),
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
    fast = partial(_each, partial(spectral.spectral_statistics, **SPECTRAL), signals)
    fast()  # filter banks are made once, not per clip
    clock = _PartClock()
    with ExitStack() as patches:
        for part, module, name in parts:
            watched = clock.watched(part, getattr(module, name))
            patches.enter_context(mock.patch.object(module, name, watched))
        clock.watched("log-mel, MFCC and the rest", fast)()
    total, seconds = sum(clock.spent.values()), sum(map(len, signals)) / 44100
    return [
        row(f"spectral: {part}", "all of spectral", share=spent / total, ours_s_per_s_of_audio=spent / seconds)
        for part, spent in sorted(clock.spent.items(), key=lambda item: -item[1])
    ]


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


def mel_speed(chosen: list[Clip], *, runs: int = 5) -> list[Row]:
    """`fsat.features.mel` against librosa.load, resample and melspectrogram per clip, reading included."""
    fast: Callable[[Clip], np.ndarray] = partial(_of_clip, work=partial(mel.log_mel, **MEL))
    error_db = max(float(np.abs(fast(clip) - _librosa_mel(clip).T).max()) for clip in chosen)
    seconds = sum(end - start for _, start, end in chosen) / 44100
    both = partial(_each, fast, chosen), partial(_each, _librosa_mel, chosen)
    ours, plain = np.array(alternate(*both, runs, clock=time.process_time)) / seconds
    return [
        row(
            "mel, one core", "librosa.load, resample, melspectrogram", speed_up=plain / ours, target="at least 1.5",
            ours_s_per_s_of_audio=ours, plain_s_per_s_of_audio=plain, largest_difference_db=error_db,
        )
    ]  # fmt: skip


def _librosa_mel(clip: Clip) -> np.ndarray:
    path, start, end = clip
    x, rate = librosa.load(path, sr=44100)
    y = librosa.resample(x[start:end], orig_sr=rate, target_sr=22050)
    return librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=22050, n_fft=1764, hop_length=220, n_mels=64))


def _each(function: Callable[[Any], Any], items: list[Any]) -> None:
    for item in items:
        function(item)


# --- more and more clips ---------------------------------------------------------------------------------------------


def growth(chosen: list[Clip], stages: tuple[str, ...], *, factors: tuple[int, ...] = (1, 2, 4, 8, 10)) -> list[Row]:
    """Peak memory and time of the stage scripts, in one process, with the same clips 1, 2, 4, 8 and 10 times.

    `overhead` is the peak at the largest factor over that at the first; `exponent` is that of time, without the start
    of the process (1: linear).
    """
    needed = CLIP_STAGES[: max(map(CLIP_STAGES.index, stages)) + 1]  # each reads what those before it wrote
    measured: dict[str, list[list[float]]] = {stage: [] for stage in needed}
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
                measured[stage].append(_run_stage(folder, stage))
    rows = []
    for stage in stages:
        peaks, times = np.array(measured[stage]).T
        slope, _ = np.polyfit(np.log(factors), np.log(np.maximum(times[2:] - times[1], 1e-3)), 1)
        many, few = f"{stage}, {factors[-1]} times the clips", f"{len(chosen)} clips"
        overhead, peak_mb = float(peaks[-1] / peaks[2]), [round(peak) for peak in peaks[2:]]
        seconds = [round(float(second), 2) for second in times[2:]]
        rows += [
            row(f"{many}: peak memory", few, overhead=overhead, target="at most 1.1", peak_mb=peak_mb),
            row(f"{many}: exponent of time", few, exponent=float(slope), seconds=seconds),
        ]
    return rows


# Runs a stage script and prints the peak of its memory in MB and its processor time in s.
MEASURED = f"""
import resource, runpy, sys
sys.argv = [sys.argv[1]]
runpy.run_module("stages." + sys.argv[0], run_name="__main__")
usage = resource.getrusage(resource.RUSAGE_SELF)
print({PEAK_MB}, usage.ru_utime + usage.ru_stime)
"""


def _run_stage(folder: Path, stage: str) -> list[float]:
    """Run a stage script in a folder: peak memory in MB and processor time in s."""
    return python(MEASURED, stage, folder=folder, FSAT_JOBS="1", OMP_NUM_THREADS="1", FSAT_DASK="")
