"""`data/trim.csv`, audio and mel filters -> `data/spectral.parquet`: the 1133 statistics of each clip."""

from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from fsat.clips import recordings
from fsat.core import files, params
from fsat.core.parallel import map_clips
from fsat.core.stage import run
from fsat.features import mel_bank, spectral


def main() -> None:
    """Compute all rows, then write them."""
    p = params.read()
    clips = files.read_csv("data/trim.csv")
    root = Path(p.dataset.path).resolve()  # absolute, for workers elsewhere
    purpose = mel_bank.for_spectral(p.audio.sample_rate, p.spectral.n_fft)
    work = partial(
        spectral.spectral_statistics,
        sample_rate=p.audio.sample_rate,
        n_fft=p.spectral.n_fft,
        hop_length=p.spectral.hop_length,
        n_mfcc=p.spectral.n_mfcc,
        bank=mel_bank.read("data/filters/spectral.npz", purpose),
    )
    read = partial(recordings.each, work=work, sample_rate=p.audio.sample_rate)
    found = map_clips(read, recordings.sounds(clips, root), desc="spectral", unit="file")
    names = spectral.feature_names(n_mfcc=p.spectral.n_mfcc)
    values = np.empty((len(clips), len(names)))
    for row, statistics in enumerate(chain.from_iterable(found)):
        values[row] = statistics
    table = pd.concat([clips[["split", "fname"]], pd.DataFrame(values, columns=names)], axis=1)
    files.write_parquet("data/spectral.parquet", table)


if __name__ == "__main__":
    run(main)
