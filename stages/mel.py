"""`data/trim.csv`, audio and mel filters -> `data/mel/`: log-mel spectrograms, an array each for training and test."""

from functools import partial
from itertools import chain
from pathlib import Path

from fsat.clips import recordings
from fsat.core import files, params
from fsat.core.parallel import map_clips
from fsat.core.stage import run
from fsat.features import mel, mel_bank
from fsat.inputs import frames


def main() -> None:
    """Compute and write one split after the other."""
    p = params.read()
    clips = files.read_csv("data/trim.csv")
    root = Path(p.dataset.path).resolve()  # absolute, for workers elsewhere
    bank = mel_bank.read("data/filters/mel.npz", mel_bank.for_mel(p.mel))
    work = partial(mel.log_mel, sample_rate=p.audio.sample_rate, settings=p.mel, bank=bank)
    read = partial(recordings.each, work=work, sample_rate=p.audio.sample_rate)
    for split in ("train", "test"):
        part = clips[clips["split"] == split]
        found = map_clips(read, recordings.sounds(part, root), desc=f"mel {split}", unit="file")
        spectrograms = chain.from_iterable(found)
        frames.write_frames(f"data/mel/{split}", zip(part["fname"], spectrograms, strict=True), n_mels=p.mel.n_mels)


if __name__ == "__main__":
    run(main)
