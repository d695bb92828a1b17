"""Made recordings with annotations at known times, and what events in them score; real clips are needed, not copied.

python -m benchmarks.recordings make CLIPS FOLDER     20 recordings of ten minutes, 300 events of eight labels
python -m benchmarks.recordings score                 after `dvc repro` with such a folder: a table of F1
"""

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile

from fsat.clips import audio
from fsat.core import files
from fsat.features import trim
from fsat.scoring import thresholds
from fsat.tagger.event_f1 import of_windows

SEED, RATE = 20180629, 44_100
N_RECORDINGS, MINUTES, N_EVENTS, GAP_S, LONGEST_S = 20, 10, 300, 0.5, 6.0
LEVEL_DB = -12.0  # of an event's loudest part, above the background's -30 dB
BACKGROUNDS = ("Rain", "Sea_waves", "Fire_crackling")  # labels of ESC-10 whose clips are background noise


def make(shared: Path, out: Path) -> None:
    """Write recordings (FLAC), half of them below ``test/``, and ``annotations.csv``.

    A clip of the slice makes events of training recordings or of test ones, as its split says.
    """
    rng = np.random.default_rng(SEED)
    rows = {split: _clips(shared, split) for split in ("train", "test")}
    labels = sorted({label for _, label in rows["train"]})[:8]
    with (shared / "esc10/train.csv").open(encoding="utf-8") as stream:
        esc = [(row["fname"], row["label"], int(row["fold"])) for row in csv.DictReader(stream)]
    annotations = []
    for number in range(N_RECORDINGS):
        split = "train" if number < N_RECORDINGS // 2 else "test"
        name = f"{'test/' if split == 'test' else ''}place{number:02d}.flac"
        # Folds 3 and 4 are heard behind test recordings alone.
        label = BACKGROUNDS[number % len(BACKGROUNDS)]
        own = [fname for fname, one, fold in esc if one == label and (fold > 2) == (split == "test")]
        sound = _background([shared / "esc10/audio_train" / fname for fname in rng.permutation(own)[:8]], rng)
        n = N_EVENTS // N_RECORDINGS
        chosen = rng.permutation(np.resize(labels, n))
        events = [_event(rng.choice([path for path, one in rows[split] if one == of]), rng) for of in chosen]
        free = len(sound) - sum(map(len, events)) - int(GAP_S * RATE) * (n + 1)
        spare = np.diff(np.sort(rng.integers(0, free, n)), prepend=0)
        at = 0
        for event, of, more in zip(events, chosen, spare, strict=True):
            at += int(more) + int(GAP_S * RATE)
            sound[at : at + len(event)] += event
            annotations.append((name, f"{at / RATE:.3f}", f"{(at + len(event)) / RATE:.3f}", of))
            at += len(event)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(out / name, np.clip(sound, -1, 1), RATE, subtype="PCM_16")
    with (out / "annotations.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("recording", "start", "end", "label"), *annotations])


def _clips(shared: Path, split: str) -> list[tuple[str, str]]:
    """Path and label of the slice's clips."""
    base, audio_folder = shared / "fsdkaggle2018_slice", f"FSDKaggle2018.audio_{split}"
    [table] = (base / "FSDKaggle2018.meta").glob(f"{split}_post_competition*.csv")
    with table.open(encoding="utf-8") as stream:
        return [(str(base / audio_folder / row["fname"]), row["label"]) for row in csv.DictReader(stream)]


def _background(paths: list[Path], rng: np.random.Generator) -> np.ndarray:
    """Ten minutes of clips at -30 dB, one after the other in any order, each faded into the next."""
    clips = []
    for path in paths:
        x = audio.load(path, RATE)
        clips.append(10 ** (-30 / 20) * x / max(float(np.sqrt(np.mean(x**2))), 1e-6))
    sound, fade = np.zeros(MINUTES * 60 * RATE, dtype=np.float32), RATE // 2
    at = 0
    while at < len(sound):
        x = clips[rng.integers(len(clips))].copy()
        x[:fade] *= np.linspace(0, 1, fade)
        x[-fade:] *= np.linspace(1, 0, fade)
        part = x[: len(sound) - at]
        sound[at : at + len(part)] += part
        at += len(x) - fade
    return sound


def _event(path: str, rng: np.random.Generator) -> np.ndarray:
    """What is not silence in a clip, at most `LONGEST_S`, at a peak near `LEVEL_DB`."""
    x = audio.load(path, RATE)
    start, end = trim.trim_interval(x, top_db=40)
    x = x[start : min(end, start + int(LONGEST_S * RATE))]
    return (x * 10 ** ((LEVEL_DB + rng.uniform(-6, 6)) / 20) / max(float(np.abs(x).max()), 1e-6)).astype(np.float32)


def score() -> None:
    """F1 of the test recordings by thresholds of labels, by the best single one of the training recordings, by 0.5."""
    windows, index = files.read_parquet("data/windows.parquet"), files.read_csv("data/index.csv")
    chosen = files.read_json("metrics/thresholds.json")
    hop = chosen["hop_s"]
    parts = {
        split: (windows[windows["split"] == split], index[index["split"] == of])
        for split, of in (("heldout", "train"), ("test", "test"))
    }
    trained = {level: of_windows(*parts["heldout"], level, hop)["event"]["all"] for level in thresholds.GRID.tolist()}
    single = max(trained, key=trained.__getitem__)
    for name, level in (("of each label", chosen["threshold"]), (f"{single} for all", single), ("0.5 for all", 0.5)):
        both = {split: of_windows(*part, level, hop) for split, part in parts.items()}
        values = [f"{both[split][kind]['all']:.3f}" for kind in ("event", "segment") for split in both]
        print(f"| {name} | {' | '.join(values)} |")
        print("   ", {label: round(value, 3) for label, value in both["test"]["event"]["labels"].items()})


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        score()
