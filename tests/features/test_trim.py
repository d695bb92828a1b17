"""Leading and trailing silence."""

import librosa
import numpy as np
import pandas as pd
import pytest

from fsat.clips import audio
from fsat.features import trim
from shared_data import SHARED, needs


def burst(n: int, start: int, end: int, *, quiet: float = 0.0) -> np.ndarray:
    """Noise between `start` and `end`, noise of amplitude `quiet` elsewhere."""
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    x[:start] *= quiet
    x[end:] *= quiet
    return x


@pytest.mark.parametrize("n", [1, 511, 512, 513, 2048, 2049, 5000])
@pytest.mark.parametrize(("quiet", "top_db"), [(0.0, 60), (1e-4, 60), (1e-2, 20)])
def test_equals_librosa(n: int, quiet: float, top_db: float) -> None:
    for start, end in ((0, n), (n // 3, n // 2 + 1), (n // 2, n)):
        x = burst(n, start, end, quiet=quiet)
        _, expected = librosa.effects.trim(x, top_db=top_db)
        assert trim.trim_interval(x, top_db=top_db) == tuple(expected)


def test_silent_and_constant_signals_stay_whole() -> None:
    for n in (0, 1, 100, 3000):
        for value in (0.0, 1e-6, 0.5):
            assert trim.trim_interval(np.full(n, value, dtype=np.float32), top_db=60) == (0, n)


@needs("reference/trim.csv")
@needs("fsdkaggle2018_slice")
def test_bounds_of_real_clips_equal_the_reference() -> None:
    paths = {path.name: path for path in (SHARED / "fsdkaggle2018_slice").glob("*/*.wav")}
    reference = pd.read_csv(SHARED / "reference/trim.csv")
    ours = [trim.trim_interval(audio.load(paths[fname], 44100), top_db=60) for fname in reference["fname"]]
    np.testing.assert_array_equal(ours, reference[["start", "end"]].to_numpy())
    assert len(ours) == 250
