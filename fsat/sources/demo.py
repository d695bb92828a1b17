"""The demo dataset: a deterministic miniature of FSDKaggle2018, synthesised with NumPy.

It has the folders, files, columns and 41 labels of the published dataset, and a few hundred clips of about a second.
They need no download and no licence. The table `RECIPES` has a `Recipe` for every label; every clip draws its own
numbers from the ranges of its label's recipe. The sounds only resemble what their labels name: a score on them shows
that the pipeline works, not how well it tags real sounds.

How to read this module: `RECIPES` says what each label sounds like, `sound` synthesises one such sound, `record` adds
background noise, a level and silence around it, `write_dataset` writes the folders and tables.
"""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsat.core import files, seeds

SAMPLE_RATE = 44_100
LICENSE = "Creative Commons 0"
SECONDS = (0.35, 0.9)  # length of a sound without the silence around it
BACKGROUND_DB = (35.0, 55.0)  # level of the background noise below that of the sound
# Share of the clips that sound like another label of the same family, so that the demo is not trivial.
LOOKALIKE_SHARE = 0.2

Range = tuple[float, float]

# Sets of partials as multiples of the pitch.
HARMONIC = tuple(float(k) for k in range(1, 17))
ODD = tuple(float(k) for k in range(1, 24, 2))
PURE = (1.0,)
BAR = (1.0, 2.76, 5.40)  # a free metal bar
PLATE = (1.0, 1.31, 1.62, 2.09, 2.43, 2.91, 3.37, 3.98, 4.61, 5.24, 6.13, 7.02)
COWBELL = (1.0, 1.48, 2.51, 3.68)
CHORD = tuple(sorted({k * note for k in (1.0, 2.0, 3.0, 4.0, 5.0) for note in (1.0, 1.26, 1.5)}))
RINGER = (1.0, 1.22)


@dataclass(frozen=True)
class Recipe:
    """How a label sounds: one or more events, each a tone, a band of noise or both, with one envelope.

    A pair is a range that each clip draws from, on a logarithmic scale. No two labels differ by the direction of time
    alone, because training reverses clips.
    """

    pitch_hz: Range | None = None  # None: noise alone
    partials: Sequence[float] = HARMONIC  # frequencies of the tone's parts as multiples of the pitch
    tilt_db: float = 6.0  # how much weaker a partial is per octave above the pitch
    noise_hz: Range | None = None  # lower and upper edge of the noise band; None: a tone alone
    noise_db: float = 0.0  # level of the noise relative to the tone
    rate_hz: Range | None = None  # events per second; None: a single event
    regular: bool = True  # events at equal steps, or at random times
    decay_s: Range | None = None  # time in which an event falls by 60 dB; None: it lasts as long as the clip
    bend_octaves: float = 0.0  # how far the pitch rises to the middle of an event and falls again
    vibrato_octaves: float = 0.0  # depth of 5 to 7 Hz modulation of pitch
    tremolo: float = 0.0  # depth of `tremolo_hz` modulation of amplitude
    tremolo_hz: Range = (5.0, 7.0)
    spread_octaves: float = 0.0  # how far the pitches of the events of one clip differ


RECIPES: dict[str, Recipe] = {
    # Sustained tones
    "Cello": Recipe(pitch_hz=(80, 130), tilt_db=4, vibrato_octaves=0.05),
    "Clarinet": Recipe(pitch_hz=(230, 360), partials=ODD, tilt_db=4),
    "Flute": Recipe(pitch_hz=(800, 1200), tilt_db=18, noise_hz=(800, 4000), noise_db=-20, tremolo=0.5),
    "Harmonica": Recipe(pitch_hz=(450, 650), partials=CHORD, tilt_db=5, tremolo=0.4),
    "Oboe": Recipe(pitch_hz=(440, 640), tilt_db=1),
    "Saxophone": Recipe(pitch_hz=(180, 280), tilt_db=5, tremolo=0.8, tremolo_hz=(22, 30)),
    "Trumpet": Recipe(pitch_hz=(300, 450), tilt_db=2, noise_hz=(300, 9000), noise_db=-18),
    "Violin_or_fiddle": Recipe(pitch_hz=(650, 1000), tilt_db=4, vibrato_octaves=0.08),
    "Telephone": Recipe(pitch_hz=(1300, 1800), partials=RINGER, tremolo=1.0, tremolo_hz=(15, 22)),
    "Squeak": Recipe(pitch_hz=(1800, 3000), tilt_db=12, bend_octaves=0.6),
    "Meow": Recipe(pitch_hz=(350, 550), tilt_db=4, bend_octaves=0.6),
    # Sustained noise
    "Bus": Recipe(pitch_hz=(40, 60), tilt_db=3, noise_hz=(40, 300)),
    "Burping_or_eructation": Recipe(pitch_hz=(60, 100), tilt_db=1, noise_hz=(200, 900), noise_db=-6),
    "Fart": Recipe(pitch_hz=(90, 160), tilt_db=1, noise_hz=(300, 2500), noise_db=-6, tremolo=0.9, tremolo_hz=(10, 16)),
    "Applause": Recipe(noise_hz=(700, 4000), rate_hz=(25, 40), regular=False, decay_s=(0.05, 0.08)),
    "Tearing": Recipe(noise_hz=(2000, 10000), tremolo=0.6, tremolo_hz=(20, 30)),
    "Microwave_oven": Recipe(pitch_hz=(100, 120), tilt_db=9, noise_hz=(1000, 3000), noise_db=-10),
    # One or two strokes with a long decay
    "Acoustic_guitar": Recipe(pitch_hz=(150, 240), tilt_db=6, rate_hz=(2, 3), decay_s=(0.8, 1.4)),
    "Bass_drum": Recipe(
        pitch_hz=(50, 75), partials=PURE, noise_hz=(40, 200), noise_db=-8, rate_hz=(2, 3), decay_s=(0.25, 0.4)
    ),
    "Double_bass": Recipe(pitch_hz=(50, 80), tilt_db=5, rate_hz=(2, 3), decay_s=(0.9, 1.5)),
    "Electric_piano": Recipe(pitch_hz=(300, 460), tilt_db=14, rate_hz=(2, 3), decay_s=(1.0, 1.6), tremolo=0.6),
    "Fireworks": Recipe(noise_hz=(60, 1500), rate_hz=(2, 3), decay_s=(0.8, 1.3)),
    "Gong": Recipe(pitch_hz=(180, 280), partials=PLATE, tilt_db=4, rate_hz=(2, 3), decay_s=(1.2, 2.0)),
    "Gunshot_or_gunfire": Recipe(noise_hz=(80, 9000), rate_hz=(2, 3), decay_s=(0.35, 0.6)),
    "Snare_drum": Recipe(
        pitch_hz=(180, 240), partials=PLATE, tilt_db=12, noise_hz=(1500, 8000), noise_db=3, rate_hz=(2, 3),
        decay_s=(0.25, 0.4),
    ),
    # Repeated strokes
    "Bark": Recipe(
        pitch_hz=(400, 650), noise_hz=(600, 2500), noise_db=-6, rate_hz=(3, 4.5), decay_s=(0.25, 0.4), bend_octaves=0.3
    ),
    "Cough": Recipe(noise_hz=(300, 3000), rate_hz=(2.5, 4), decay_s=(0.3, 0.45)),
    "Cowbell": Recipe(pitch_hz=(520, 680), partials=COWBELL, tilt_db=4, rate_hz=(4, 6), decay_s=(0.15, 0.25)),
    "Drawer_open_or_close": Recipe(noise_hz=(80, 800), rate_hz=(6, 9), regular=False, decay_s=(0.1, 0.2)),
    "Finger_snapping": Recipe(noise_hz=(1500, 2800), rate_hz=(3, 4.5), decay_s=(0.05, 0.09)),
    "Glockenspiel": Recipe(
        pitch_hz=(1100, 1700), partials=BAR, tilt_db=5, rate_hz=(4, 6), decay_s=(0.3, 0.5), spread_octaves=0.4
    ),
    "Hi-hat": Recipe(noise_hz=(7000, 11000), rate_hz=(4, 6.5), decay_s=(0.08, 0.15)),
    "Knock": Recipe(pitch_hz=(180, 320), partials=PLATE, tilt_db=8, rate_hz=(5, 8), decay_s=(0.06, 0.1)),
    "Laughter": Recipe(
        pitch_hz=(240, 380), tilt_db=4, noise_hz=(1000, 5000), noise_db=-10, rate_hz=(5, 7), decay_s=(0.15, 0.25),
        bend_octaves=0.2,
    ),
    "Scissors": Recipe(noise_hz=(4000, 10000), rate_hz=(2, 3), decay_s=(0.2, 0.35)),
    "Writing": Recipe(noise_hz=(2500, 6000), rate_hz=(6, 9), decay_s=(0.1, 0.2)),
    # Many small strokes at random times
    "Chime": Recipe(
        pitch_hz=(2200, 3400), partials=BAR, rate_hz=(5, 8), regular=False, decay_s=(0.6, 1.0), spread_octaves=0.5
    ),
    "Computer_keyboard": Recipe(noise_hz=(1200, 5000), rate_hz=(8, 12), regular=False, decay_s=(0.03, 0.06)),
    "Keys_jangling": Recipe(
        pitch_hz=(4000, 6000), partials=PLATE, rate_hz=(14, 20), regular=False, decay_s=(0.08, 0.15),
        spread_octaves=0.5,
    ),
    "Shatter": Recipe(
        pitch_hz=(2500, 4500), partials=PLATE, tilt_db=0, noise_hz=(3000, 10000), noise_db=-3, rate_hz=(16, 24),
        regular=False, decay_s=(0.15, 0.3), spread_octaves=1.0,
    ),
    "Tambourine": Recipe(
        pitch_hz=(5000, 7000), partials=PLATE, noise_hz=(4500, 9000), noise_db=3, rate_hz=(7, 10),
        decay_s=(0.1, 0.2), spread_octaves=0.3,
    ),
}  # fmt: skip
LABELS = tuple(sorted(RECIPES))

# Labels that sound alike.
FAMILIES = (
    ("Bus", "Cello", "Double_bass"),
    ("Bass_drum", "Drawer_open_or_close", "Fireworks"),
    ("Acoustic_guitar", "Electric_piano", "Gong"),
    ("Clarinet", "Harmonica", "Oboe"),
    ("Saxophone", "Trumpet", "Violin_or_fiddle"),
    ("Flute", "Squeak", "Telephone"),
    ("Chime", "Cowbell", "Glockenspiel"),
    ("Hi-hat", "Keys_jangling", "Tambourine"),
    ("Gunshot_or_gunfire", "Shatter", "Snare_drum"),
    ("Applause", "Microwave_oven", "Tearing"),
    ("Bark", "Cough", "Laughter", "Meow"),
    ("Burping_or_eructation", "Fart"),
    ("Computer_keyboard", "Finger_snapping", "Knock"),
    ("Scissors", "Writing"),
)


def sound(recipe: Recipe, rng: np.random.Generator, *, seconds: float) -> np.ndarray:
    """One sound of a recipe: float64 (round(seconds * 44100),), root mean square 1 unless shorter than a sample."""
    n = round(seconds * SAMPLE_RATE)
    signal = np.zeros(n)
    pitch_hz = _draw(recipe.pitch_hz, rng) if recipe.pitch_hz else 0.0
    decay_s = _draw(recipe.decay_s, rng) if recipe.decay_s else None
    for onset_s in _onsets_s(recipe, rng, seconds=seconds):
        start = round(onset_s * SAMPLE_RATE)
        n_event = n - start if decay_s is None else min(n - start, round(1.2 * decay_s * SAMPLE_RATE))
        octaves = rng.uniform(-0.5, 0.5) * recipe.spread_octaves
        event = _event(recipe, rng, n=n_event, pitch_hz=pitch_hz * 2.0**octaves, decay_s=decay_s)
        signal[start : start + n_event] += event * 10 ** (rng.uniform(-6, 0) / 20)
    return _normalise(signal)


def _draw(limits: Range, rng: np.random.Generator) -> float:
    """A number between two limits, uniform on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))


def _onsets_s(recipe: Recipe, rng: np.random.Generator, *, seconds: float) -> np.ndarray:
    """Onset times of a clip's events, the first at 0."""
    if recipe.rate_hz is None:
        return np.zeros(1)
    step_s = 1 / _draw(recipe.rate_hz, rng)
    latest_s = max(seconds - 0.05, 0.0)
    onsets_s = np.append(0.0, np.arange(step_s, latest_s, step_s))
    if not recipe.regular:
        onsets_s[1:] = np.sort(rng.uniform(0, latest_s, size=len(onsets_s) - 1))
    return onsets_s


def _event(recipe: Recipe, rng: np.random.Generator, *, n: int, pitch_hz: float, decay_s: float | None) -> np.ndarray:
    """One event of n samples: (tone + noise) x envelope."""
    seconds = np.arange(n) / SAMPLE_RATE
    carrier = np.zeros(n)
    if recipe.pitch_hz:
        carrier += _tone(recipe, rng, seconds=seconds, pitch_hz=pitch_hz)
    if recipe.noise_hz:
        gain = 10 ** (recipe.noise_db / 20) if recipe.pitch_hz else 1.0
        carrier += gain * _noise(rng, n=n, band_hz=recipe.noise_hz)
    # 5 ms up; then either exponential decay, or level until 20 ms before the end.
    envelope = np.minimum(seconds / 0.005, 1.0)
    if decay_s is None:
        envelope *= np.clip((n / SAMPLE_RATE - seconds) / 0.02, 0.0, 1.0)
    else:
        envelope *= 10 ** (-3 * seconds / decay_s)
        envelope *= np.clip((n / SAMPLE_RATE - seconds) / 0.005, 0.0, 1.0)
    if recipe.tremolo:
        phase = 2 * np.pi * (_draw(recipe.tremolo_hz, rng) * seconds + rng.uniform())
        envelope *= 1 - recipe.tremolo * (0.5 - 0.5 * np.cos(phase))
    return carrier * envelope


def _tone(recipe: Recipe, rng: np.random.Generator, *, seconds: np.ndarray, pitch_hz: float) -> np.ndarray:
    """Sum of partials below 16 kHz, root mean square 1; the pitch may bend and have vibrato."""
    n = len(seconds)
    octaves = recipe.bend_octaves * np.sin(np.pi * np.arange(n) / max(n, 1))
    if recipe.vibrato_octaves:
        octaves += recipe.vibrato_octaves * np.sin(2 * np.pi * (rng.uniform(5, 7) * seconds + rng.uniform()))
    cycles = np.cumsum(pitch_hz * 2.0**octaves) / SAMPLE_RATE
    highest = 16_000 / (pitch_hz * 2.0 ** (recipe.bend_octaves + recipe.vibrato_octaves))
    tone = np.zeros(n)
    for ratio in recipe.partials:
        if ratio < highest:
            level_db = -recipe.tilt_db * np.log2(ratio) + rng.uniform(-4, 4)
            tone += 10 ** (level_db / 20) * np.sin(2 * np.pi * (ratio * cycles + rng.uniform()))
    return _normalise(tone)


def _noise(rng: np.random.Generator, *, n: int, band_hz: Range) -> np.ndarray:
    """Noise of n samples between two frequencies, root mean square 1; its edges vary by a sixth of an octave."""
    low_hz, high_hz = (edge * 2.0 ** rng.uniform(-1 / 6, 1 / 6) for edge in band_hz)
    frequencies_hz = _frequencies_hz(n)
    octaves_outside = np.maximum(np.log2(low_hz / frequencies_hz), np.log2(frequencies_hz / high_hz))
    return _coloured_noise(rng, n=n, gain_db=-24 * np.maximum(octaves_outside, 0.0))


def _coloured_noise(rng: np.random.Generator, *, n: int, gain_db: np.ndarray) -> np.ndarray:
    """Noise of n samples with a spectrum of this shape, at `_frequencies_hz`; root mean square 1."""
    spectrum = rng.standard_normal(len(gain_db)) + 1j * rng.standard_normal(len(gain_db))
    return _normalise(np.fft.irfft(spectrum * 10 ** (gain_db / 20))[:n])


def _frequencies_hz(n: int) -> np.ndarray:
    """Frequencies of a Fourier transform of n samples, padded to a power of two for speed; those under 20 are 20."""
    return np.maximum(np.fft.rfftfreq(_padded(n), 1 / SAMPLE_RATE), 20.0)


def _padded(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()


def _normalise(signal: np.ndarray) -> np.ndarray:
    """Scale to root mean square 1; a silent signal stays silent."""
    level = float(np.sqrt(np.mean(signal**2))) if len(signal) else 0.0
    return signal / level if level > 0 else signal


def record(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate a recording: colour the sound, add background noise, set a level, put silence before and after it.

    The signal (n,) has a root mean square of 1; the result, float64 (m,) with m > n, has its largest magnitude between
    0.4 and 0.9. The silence is noise of one 16-bit step, more than 60 dB below the sound, so that `trim` removes it.
    """
    n = len(signal)
    octaves_above_1_khz = np.log2(_frequencies_hz(n) / 1000)
    colour_db = rng.uniform(-1.5, 1.5) * octaves_above_1_khz
    signal = _normalise(np.fft.irfft(np.fft.rfft(signal, _padded(n)) * 10 ** (colour_db / 20))[:n])
    # The background falls by 3 dB an octave and is faded in and out over 10 ms.
    noise = _coloured_noise(rng, n=n, gain_db=-3 * octaves_above_1_khz)
    fade = np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.01 * SAMPLE_RATE), 0.0, 1.0)
    signal = signal + noise * fade * 10 ** (-rng.uniform(*BACKGROUND_DB) / 20)
    signal = signal / np.max(np.abs(signal)) * _draw((0.4, 0.9), rng)
    before, after = (rng.integers(-1, 2, size=round(rng.uniform(0.04, 0.2) * SAMPLE_RATE)) / 32768 for _ in range(2))
    return np.concatenate([before, signal, after])


def clip(label: str, rng: np.random.Generator) -> np.ndarray:
    """One clip of a label, mono, 44.1 kHz, float64 (m,) in [-1, 1].

    A share of `LOOKALIKE_SHARE` sounds like another label of the same family.
    """
    if rng.uniform() < LOOKALIKE_SHARE:
        [family] = [family for family in FAMILIES if label in family]
        label = str(rng.choice([other for other in family if other != label]))
    return record(sound(RECIPES[label], rng, seconds=_draw(SECONDS, rng)), rng)


def write_dataset(folder: str | Path, *, clips_per_class: int, seed: int) -> None:
    """Write the dataset in the layout of the published zips.

    Each label has `clips_per_class` training clips and a third as many test clips (rounded down; every second label
    has one more). The five test clips of `_awkward_clips` come on top.
    """
    folder = Path(folder)
    for name in ("audio_train", "audio_test", "meta"):
        (folder / f"FSDKaggle2018.{name}").mkdir(parents=True, exist_ok=True)

    files.write_text(folder / files.SYNTHETIC_MARK, "Synthesised by fsat/sources/demo.py: no recordings.\n")

    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for position, label in enumerate(LABELS):
        counts = {"train": clips_per_class, "test": max(clips_per_class // 3 + position % 2, 1)}
        for split, number in ((split, number) for split, count in counts.items() for number in range(count)):
            row = _row(split, label, number, seed)
            rng = seeds.generator(seed, "demo", split, label, number)
            if split == "train":
                row["manually_verified"] = int(rng.uniform() < 0.4)
            else:
                row["usage"] = "Public" if rng.uniform() < 0.2 else "Private"
            _write_wav(folder / f"FSDKaggle2018.audio_{split}" / row["fname"], clip(label, rng))
            rows[split].append(row)
    rows["test"] += _awkward_clips(folder / "FSDKaggle2018.audio_test", seed=seed)
    for split, name, column in (
        ("train", "train_post_competition", "manually_verified"),
        ("test", "test_post_competition_scoring_clips", "usage"),
    ):
        columns = ["fname", "label", column, "freesound_id", "license"]
        table = pd.DataFrame(rows[split], columns=columns).sort_values("fname")
        files.write_csv(folder / f"FSDKaggle2018.meta/{name}.csv", table)


def _awkward_clips(folder: Path, *, seed: int) -> list[dict[str, Any]]:
    """Write test clips that are hard to handle; return their rows.

    The file of 0 bytes and the silent one are not scored: they have label "None" and usage "Ignored", as in Kaggle's
    own test table. They are in the table of scoring clips so that `index` checks them.
    """
    rows = []

    def add(name: str, label: str, usage: str) -> tuple[Path, np.random.Generator]:
        rows.append(_row(name, label, 0, seed) | {"usage": usage})
        return folder / str(rows[-1]["fname"]), seeds.generator(seed, "demo", name)

    path, _ = add("empty", "None", "Ignored")
    path.touch()
    path, _ = add("silent", "None", "Ignored")
    _write_wav(path, np.zeros(SAMPLE_RATE // 2))
    path, rng = add("short", "Gunshot_or_gunfire", "Private")
    _write_wav(path, sound(RECIPES["Gunshot_or_gunfire"], rng, seconds=0.02) / 8)
    path, rng = add("24 bit", "Trumpet", "Private")
    _write_wav(path, clip("Trumpet", rng), bits=24)
    path, rng = add("stereo", "Cello", "Public")
    mono = clip("Cello", rng)
    positions = np.arange(len(mono) * 48_000 // SAMPLE_RATE) * SAMPLE_RATE / 48_000
    at_48_khz = np.interp(positions, np.arange(len(mono)), mono)
    _write_wav(path, np.stack([at_48_khz, 0.5 * at_48_khz], axis=1), sample_rate=48_000)
    return rows


def _row(split: str, label: str, number: int, seed: int) -> dict[str, Any]:
    """The columns both tables share; fname is 8 hexadecimal digits as in the original, freesound_id any number."""
    digits = f"{seeds.entropy(seed, 'fname', split, label, number):032x}"
    freesound_id = int(digits[8:15], 16)
    return {"fname": f"{digits[:8]}.wav", "label": label, "freesound_id": freesound_id, "license": LICENSE}


def _write_wav(path: Path, signal: np.ndarray, *, sample_rate: int = SAMPLE_RATE, bits: int = 16) -> None:
    """Write a signal in [-1, 1], (n,) or (n, channels), as integer PCM.

    The samples are rounded to integers, which removes the last bits, in which processors differ.
    """
    full_scale = 2 ** (bits - 1)
    integers = np.clip(np.round(signal * full_scale), -full_scale, full_scale - 1).astype("<i4")
    # The lower bits / 8 bytes of each little-endian 32-bit integer.
    payload = np.ascontiguousarray(integers).view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if signal.ndim == 1 else signal.shape[1])
        file.setsampwidth(bits // 8)
        file.setframerate(sample_rate)
        file.writeframes(payload)
