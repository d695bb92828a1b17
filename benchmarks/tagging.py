"""What `fsat tag` costs: seconds of real clips tagged in a second of one core, and the memory of long recordings.

Measures the bundle in `data/bundle`, whatever run it is from; the rows name its trunk.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

from benchmarks.features import clips
from benchmarks.measuring import PEAK_MB, ROOT, Row, alternate, python, row
from fsat.clips import audio
from fsat.tagger.tagger import Tagger

BUNDLE = ROOT / "data" / "bundle"
RATE = 44_100
MEASURED = f"""
import sys
from fsat.tagger.tagger import Tagger
tagger = Tagger(sys.argv[1], stage="stage1", n_folds=1)
assert all(result.path for result in tagger.tag_files([sys.argv[2]], segment_s=2))
print({PEAK_MB})
"""


def all_rows() -> list[Row]:
    """Everything below; a few minutes."""
    if not (BUNDLE / "bundle.json").is_file():
        sys.exit("benchmarks: tagging needs data/bundle: run `dvc repro bundle` first.")
    return [*speed(), *memory()]


def speed(*, runs: int = 5) -> list[Row]:
    """Stage 1 on every tenth clip, one core: all passes of all folds, and one pass of one fold; processor time."""
    paths = [path for path, _, _ in clips(every=10)]
    seconds = sum(audio.probe(path).seconds for path in paths)
    every = Tagger(BUNDLE, stage="stage1", threads=1)
    # A bundle whose networks see a clip once has no lengths and tries to choose.
    few = None if every.passes is None else 1
    quick = Tagger(BUNDLE, stage="stage1", threads=1, n_folds=1, lengths=few, tries=few)
    with threadpool_limits(1):
        times = alternate(
            lambda: [every(path) for path in paths], lambda: [quick(path) for path in paths], runs,
            clock=time.process_time,
        )  # fmt: skip
    full, one = (seconds / spent for spent in times)
    name = f"tagging by stage 1 ({_trunk(every)}), one core"
    figures: Row = {"audio_s_per_s": full, "clips": len(paths), "seconds_of_audio": seconds}
    return [
        row(f"{name}, all {every.n_passes} passes", **figures),
        row(f"{name}, one pass", "all passes", speed_up=one / full, audio_s_per_s=one),
    ]


def memory(*, minutes: int = 20) -> list[Row]:
    """Peak memory of a long recording in windows of 2 s, with all passes of one fold, against one window."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / "window.wav", Path(name) / "long.wav"]
        for path, n_blocks in zip(paths, (1, 30 * minutes), strict=True):
            with soundfile.SoundFile(path, "w", RATE, 1) as stream:
                for _ in range(n_blocks):
                    stream.write(rng.normal(0, 0.1, 2 * RATE).astype(np.float32))
        [short_mb], [long_mb] = (python(MEASURED, BUNDLE, path) for path in paths)
    title, peaks = f"{minutes} minutes in windows of 2 s: peak memory", [round(short_mb), round(long_mb)]
    return [row(title, "one window", overhead=long_mb / short_mb, target="at most 100 MB above", peak_mb=peaks)]


def _trunk(tagger: Tagger) -> str:
    """``MobileNetV2 0.35``, where the bundle says so."""
    network = tagger.manifest.networks["stage1"]
    words = [network.architecture.get("backbone"), network.architecture.get("width")]
    return " ".join(str(word) for word in words if word is not None) or f"{network.parameters} parameters"
