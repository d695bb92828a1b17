"""The 1133 statistics: against reference figures, against plain library calls, against formulas, on awkward signals."""

import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from benchmarks import slow_spectral
from fsat.clips import audio, index
from fsat.clips.recordings import Sound, each
from fsat.core.errors import FsatError
from fsat.core.parallel import map_clips
from fsat.features import harmonic, mel_bank, spectral, stft, waveform
from shared_data import SHARED, needs
from stages.filters import bank_for

RECIPE: dict[str, Any] = {"sample_rate": 44100, "n_fft": 2048, "hop_length": 512, "n_mfcc": 40}
RECIPE["bank"] = mel_bank.grouped(bank_for(mel_bank.for_spectral(44100, 2048)))
ROOT = Path(__file__).parents[2]
# All clips and the longest length: `FSAT_FULL=1 pytest tests/features`.
FULL = bool(os.environ.get("FSAT_FULL"))
NAMES = spectral.feature_names(n_mfcc=40)


def named(x: np.ndarray) -> pd.Series:
    return pd.Series(spectral.spectral_statistics(x, **RECIPE), index=NAMES)


def melody(seconds: float = 1.3) -> np.ndarray:
    """Notes with partials that begin and fade, over noise."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(seconds * 44100)) / 44100
    x = 1e-3 * rng.normal(size=len(time_s))
    for start, hz in ((0.0, 220.0), (0.3, 277.2), (0.5, 329.6), (0.9, 440.0)):
        envelope = np.where(time_s >= start, np.exp(-6 * (time_s - start)), 0)
        x += 0.2 * envelope * sum(np.sin(2 * np.pi * hz * k * time_s) / k for k in range(1, 6))
    return x.astype(np.float32)


# --- the reference ---------------------------------------------------------------------------------------------------


@needs("reference/spectral.parquet")
@needs("fsdkaggle2018_slice")
def test_real_clips_equal_the_reference() -> None:
    """Every fifth clip; at most one cell in 1000 may be outside the tolerance, and appears as a warning, by name.

    The reference computes moments in float32: of rows with a single loud frame its skew is right to 3 parts in 1000.
    """
    reference = pd.read_parquet(SHARED / "reference/spectral.parquet")
    assert list(reference.columns) == NAMES
    assert reference.shape == (250, 1133)
    spread = reference.std(ddof=0).to_numpy()
    reference = reference if FULL else reference[::5]
    paths = {path.name: path for path in (SHARED / "fsdkaggle2018_slice").glob("*/*.wav")}
    trimmed = pd.read_csv(SHARED / "reference/trim.csv").set_index("fname").loc[reference.index]
    clips = [Sound(paths[fname], [(start, end)]) for fname, start, end in trimmed[["start", "end"]].itertuples()]
    work = partial(each, work=partial(spectral.spectral_statistics, **RECIPE), sample_rate=44100)
    ours = np.array([row for [row] in map_clips(work, clips, desc="reference")])
    expected = reference.to_numpy()
    is_skew = np.array([name.startswith("logmel_") and name.endswith("_skew") for name in NAMES])
    allowed = np.where(is_skew, 3e-3, 1e-4) * np.maximum(np.abs(expected), spread)
    outside = [
        f"{reference.index[row]} {NAMES[column]}: {ours[row, column]:.6g}, reference {expected[row, column]:.6g}"
        for row, column in np.argwhere(~(np.abs(ours - expected) <= allowed))
    ]
    report = "\n".join([f"{len(outside)} of {ours.size} cells outside:", *outside])
    assert len(outside) <= ours.size / 1000, report
    # The tuning of a clip's partials is the fullest of 100 bins: rounding can make another one the fullest.
    assert all(" tonnetz_" in line for line in outside), report
    if outside:
        warnings.warn(report, stacklevel=1)


@pytest.mark.filterwarnings("ignore:n_fft=1024 is too large")
def test_equals_plain_library_calls() -> None:
    x = melody()
    plain = slow_spectral.spectral_statistics(x)
    np.testing.assert_allclose(named(x).to_numpy(), plain, rtol=2e-3, atol=2e-4)


# --- awkward signals -------------------------------------------------------------------------------------------------


SIGNALS = {
    "silence": lambda n: np.zeros(n),
    "constant": lambda n: np.full(n, 0.5),
    "noise": lambda n: np.random.default_rng(n).normal(0, 0.1, n),
    "one click": lambda n: np.arange(n) == n // 2,
    "faint": lambda n: np.full(n, 1e-30) * (-1.0) ** np.arange(n),
    "huge": lambda n: 1e6 * (-1.0) ** np.arange(n),
    "offset": lambda n: 100 + np.random.default_rng(n).normal(0, 1e-3, n),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kind", "n"),
    [*((kind, n) for kind in SIGNALS for n in (3, 4101)), *(("noise", n) for n in (0, 1, 511, 2000, 2001, 2101))],
)
def test_every_number_is_finite(kind: str, n: int) -> None:
    statistics = spectral.spectral_statistics(SIGNALS[kind](n).astype(np.float32), **RECIPE)
    assert statistics.shape == (1133,)
    assert statistics.dtype == np.float64
    assert np.isfinite(statistics).all()
    if n == 0:
        assert not statistics.any()


def test_silence_has_no_shape() -> None:
    s = named(np.zeros(44100, dtype=np.float32))
    over_time = s.filter(regex="_(std|skew)$").filter(regex="^(?!wave|abs|diff)")
    assert not over_time.any()
    np.testing.assert_allclose(s.filter(regex="logmel_.*_(mean|min|max)"), -100, atol=1e-3)
    assert not s.filter(regex="^(chroma|contrast|rolloff|centroid|bandwidth|tonnetz|zcr|spectrum|wave|diff)").any()
    assert not s.loc["envelope_00":"envelope_09"].any()


def test_what_is_constant_has_no_deviation() -> None:
    s = named(np.full(50_000, 0.3, dtype=np.float32))
    assert (s.filter(regex="^(wave|abs)_.*_std$") == 0).all()
    assert not s.filter(regex="^diff").any()
    for value in (0.0, 0.1, 0.3, -0.7):
        x = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
        x[20_000:] = value  # the last of three parts
        s = pd.Series(waveform.waveform_statistics(x), index=waveform.feature_names()[-72:])
        assert s["wave_3.2_std"] == s["abs_3.2_std"] == 0 and s["wave_3.1_std"] > 0.09


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(FsatError, match=r"audio\.sample_rate must be at least 25600 Hz .* Got 22050"):
        spectral.spectral_statistics(melody(), **RECIPE | {"sample_rate": 22050})
    with pytest.raises(FsatError, match=r"spectral\.n_fft must be at least 221 samples .* Got 128"):
        spectral.spectral_statistics(melody(), **RECIPE | {"n_fft": 128})


def test_other_parameters() -> None:
    usual = named(melody())
    for changed in ({"n_fft": 1024}, {"hop_length": 300}, {"n_fft": 2001}, {"sample_rate": 96000}):
        settings = RECIPE | changed
        settings["bank"] = mel_bank.grouped(bank_for(mel_bank.for_spectral(settings["sample_rate"], settings["n_fft"])))
        other = pd.Series(spectral.spectral_statistics(melody(), **settings), index=NAMES)
        assert np.isfinite(other).all()
        if "sample_rate" not in changed:
            # The same sound: features that do not count bins or frames come out nearly alike.
            same = [f"{feature}_000_mean" for feature in ("centroid", "bandwidth", "zcr")]
            np.testing.assert_allclose(other[same], usual[same], rtol=0.2)
    names = spectral.feature_names(n_mfcc=13)
    few = spectral.spectral_statistics(melody(), **RECIPE | {"n_mfcc": 13})
    assert len(names) == len(few) == 933 + 5 * 13
    shared = [name for name in NAMES if name in names]
    np.testing.assert_array_equal(pd.Series(few, index=names)[shared], usual[shared])


# --- features of a spectrogram ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_frames", [2, 87])
def test_constant_rows_have_no_deviation_and_no_skew(n_frames: int, dtype: type) -> None:
    """Whatever the rounding of their mean, and whatever the rows beside them do."""
    values = np.random.default_rng(0).uniform(-100, 40, 500)
    frames: np.ndarray = np.tile(values, (n_frames, 1)).astype(dtype)  # (n_frames, n_rows)
    frames[0, ::7] += 1
    std, skew = spectral._row_statistics(frames).reshape(5, -1)[1:3]
    constant = np.arange(500) % 7 != 0
    assert not std[constant].any() and not skew[constant].any()
    assert (std[~constant] > 0).all()
    assert n_frames == 2 or (skew[~constant] > 0.5).all()


@pytest.mark.parametrize(("level", "n_frames"), [(-72.3, 90), (0.0, 862), (33.3, 862)])
def test_skew_of_one_deviating_frame(n_frames: int, level: float) -> None:
    """(n - 2) / sqrt(n - 1), however small the deviation is beside the level."""
    frames = np.full((n_frames, 1), level, dtype=np.float32)
    frames[7] += 1e-3
    skew = spectral._row_statistics(frames)[2]
    assert skew == pytest.approx((n_frames - 2) / np.sqrt(n_frames - 1), rel=1e-5)


@pytest.mark.parametrize(("hz", "pitch_class"), [(440.0, 9), (261.63, 0), (830.61, 8)])
def test_a_tone_has_its_pitch(hz: float, pitch_class: int) -> None:
    x = (np.sin(2 * np.pi * hz * np.arange(44100) / 44100) * np.hanning(44100)).astype(np.float32)
    s = named(x)
    assert np.argmax(s[[f"chroma_{row:03d}_mean" for row in range(12)]]) == pitch_class
    assert s["centroid_000_mean"] == pytest.approx(hz, rel=0.05)
    assert s["zcr_000_max"] == pytest.approx(2 * hz / 44100, rel=0.05)
    # Harte et al. 2006: a pitch class lies on the circle of fifths, 7/6 pi a semitone.
    fifths = s[["tonnetz_000_mean", "tonnetz_001_mean"]].to_numpy()
    angle = 7 / 6 * np.pi * pitch_class
    np.testing.assert_allclose(fifths / np.linalg.norm(fifths), [np.sin(angle), np.cos(angle)], atol=0.1)


def test_tuning_is_found() -> None:
    for cents in (-40, 0, 20, 45):
        hz = 440 * 2 ** (cents / 1200)
        x = np.sin(2 * np.pi * hz * np.arange(44100) / 44100).astype(np.float32)
        magnitudes = stft.Stft(x, 2048, 512).magnitudes()
        found = harmonic.tuning(magnitudes, sample_rate=44100, n_fft=2048, bins_per_octave=12)
        assert found == pytest.approx(cents / 100, abs=0.05)


def test_soft_mask_separates_tone_and_click() -> None:
    magnitude = np.full((100, 200), 1e-3, dtype=np.float32)
    magnitude[:, 50] = 1  # a tone
    magnitude[40, :] = 1  # a click
    mask = harmonic._soft_mask(np.pad(magnitude, 15, mode="symmetric"))
    assert mask[10, 50] > 0.99
    assert mask[40, 120] < 0.01
    assert np.all((mask >= 0) & (mask <= 1))
    assert (harmonic._soft_mask(np.zeros((70, 80), dtype=np.float32)) == 0.5).all()


def test_high_bins_count_at_the_ends_alone() -> None:
    """Where a clip cuts them off they are heard below; elsewhere leaving them out changes nothing."""
    transform = stft.Stft(np.random.default_rng(0).normal(size=44100).astype(np.float32), 2048, 512)
    low = {}
    for first_unused_bin in (512, 1025):
        parts = harmonic.harmonic_part(transform, first_unused_bin=first_unused_bin)
        y = audio.resample(np.concatenate(list(parts)), 2, 1)
        low[first_unused_bin] = np.fft.rfft(y)[:4000]  # up to 4 kHz, as far as the filters reach
    assert np.abs(low[512] - low[1025]).max() < 1e-5 * np.abs(low[1025]).mean()


@pytest.mark.parametrize("block_frames", [64, 1024])
def test_inverse_transform_restores_the_signal(monkeypatch: pytest.MonkeyPatch, block_frames: int) -> None:
    monkeypatch.setattr(stft, "BLOCK_FRAMES", block_frames)
    for n, hop_length in ((100_000, 512), (5000, 512), (5000, 300), (700, 512), (1, 512)):
        x = np.random.default_rng(0).normal(size=n).astype(np.float32)
        transform = stft.Stft(x, 2048, hop_length)
        overlap = harmonic._OverlapAdd(2048, hop_length)
        parts = []
        for first, end in stft.blocks(transform.n_frames):
            spectrum, _ = transform.with_magnitude(first, end)
            mask = np.ones(spectrum.shape, dtype=np.float32)
            parts.append(overlap.add(spectrum, mask, last=end == transform.n_frames))
        y = np.concatenate(parts)[1024 : 1024 + n]
        np.testing.assert_allclose(y, x[: len(y)], atol=1e-4)
        assert len(y) >= n - 512


# --- long signals ----------------------------------------------------------------------------------------------------


def test_blocks_give_the_numbers_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x = melody(13.0)
    whole = named(x)
    monkeypatch.setattr(stft, "BLOCK_FRAMES", 128)
    monkeypatch.setattr(waveform, "_CHUNK", 30_001)
    monkeypatch.setattr(waveform, "_FFT_BLOCKS", 7)
    blocks = named(x)
    # Matrix products and sums over fewer rows are rounded in another way; counts and positions are exact.
    np.testing.assert_allclose(blocks, whole, rtol=1e-4, atol=1e-5)
    exact = [*(f"envelope_{number:02d}" for number in range(12)), *(name for name in NAMES if name.startswith("zcr"))]
    assert (blocks[exact] == whole[exact]).all()


MEMORY = """
import sys
import numpy as np
from fsat.core import params
from fsat.clips import audio
from fsat.features import mel, mel_bank, spectral, trim
path, seconds = sys.argv[1], int(sys.argv[2])
trim.trim_interval(audio.load(path, 44100), top_db=60)
clip = (path, 0, seconds * 44100, 44100)
bank = mel_bank.grouped(np.ones((883, 64), np.float32))
mel.log_mel(audio.load_interval(*clip), sample_rate=44100, settings=params.read().mel, bank=bank)
bank = mel_bank.grouped(np.ones((1025, 128), np.float32))
x = audio.load_interval(*clip)
spectral.spectral_statistics(x, sample_rate=44100, n_fft=2048, hop_length=512, n_mfcc=40, bank=bank)
heavy = [name for name in ("librosa", "numba", "sklearn", "pandas", "matplotlib") if name in sys.modules]
assert not heavy, f"a tagger is installed without {heavy}, and each takes up to a second to import"
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_bytes(path: Path, seconds: int) -> int:
    """Largest memory of a whole process, imports included, that computes the features of a long clip."""
    with soundfile.SoundFile(path, "w", 44100, 1, "PCM_16") as sound:
        for _ in range(seconds):
            sound.write(melody(1.0))
    command = [sys.executable, "-c", MEMORY, str(path), str(seconds)]
    return 1024 * int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which Linux has")
def test_a_clip_of_the_longest_length_without_a_note_needs_600_mb_and_no_heavy_library(tmp_path: Path) -> None:
    """The figure that `index` quotes for longer clips; from two shorter ones, or measured with FSAT_FULL=1."""
    path, longest = tmp_path / "long.wav", index.LONG_CLIP_S
    if FULL:
        assert peak_bytes(path, longest) <= index.LONG_CLIP_BYTES
    short, longer = peak_bytes(path, 60), peak_bytes(path, 180)
    assert short + (longer - short) * (longest - 60) / 120 <= index.LONG_CLIP_BYTES


# --- envelope, mean spectrum, waveform -------------------------------------------------------------------------------


def test_a_sound_that_never_relaxes_lasts_to_the_end_of_its_envelope() -> None:
    statistics = waveform.envelope_statistics(np.ones(5000, dtype=np.float32))
    assert np.expm1(statistics[9]) == pytest.approx(3001)  # windows of 2000 in 5000 samples


@pytest.mark.parametrize("n", [1, 500, 2100, 2101, 4101])
def test_a_mean_spectrum_of_few_blocks(n: int) -> None:
    """A short signal is one block, as far as it goes."""
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    blocks = [x[edge : edge + 2000] for edge in range(100, n, 2000) if edge + 2000 < n]
    spectra = [np.abs(np.fft.fft(block, 2000))[:1000] for block in blocks or [x[:2000]]]
    np.testing.assert_allclose(waveform.mean_spectrum(x), np.log1p(np.mean(spectra, axis=0)), rtol=1e-4, atol=1e-6)


def test_lobe_reaches_to_the_bins_under_a_tenth_if_there_are_any() -> None:
    m = np.maximum(1 - 0.0051 * np.abs(np.arange(1000) - 300), 0)  # under 0.1 from 177 bins off the peak
    expected = np.polyfit(np.arange(123, 477), m[123:477], 2)[[1, 0, 2]]
    np.testing.assert_allclose(waveform.spectrum_statistics(m)[36:39], expected, rtol=1e-6)
    rising = np.linspace(0.5, 1, 1000)  # nothing under 10 %
    assert not waveform.spectrum_statistics(rising)[36:39].any()
    rising[:10] = 0  # nothing right of the peak: bin 0 stands for it
    assert not waveform.spectrum_statistics(rising)[36:39].any()


@pytest.mark.parametrize("n", [1, 2, 5, 44101])
def test_waveform_parts(n: int) -> None:
    x = np.random.default_rng(n).normal(3, 1, n).astype(np.float32)
    expected = [
        f(part) if len(part) else 0.0
        for signal in (x.astype(float), np.abs(x.astype(float)), np.diff(x.astype(float)))
        for n_parts in (1, 2, 3)
        for part in np.array_split(signal, n_parts)
        for f in (np.mean, np.std, np.min, np.max)
    ]
    np.testing.assert_allclose(waveform.waveform_statistics(x), expected, rtol=1e-5, atol=1e-6)
