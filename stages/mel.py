"""`data/trim.csv`, audio and mel filters -> `data/mel/`: log-mel spectrograms, an array each for training and test."""

from functools import partial
from pathlib import Path

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
    work = partial(mel.mel_clip, sample_rate=p.audio.sample_rate, settings=p.mel, bank=bank)
    for split in ("train", "test"):
        part = clips[clips["split"] == split]
        rows = part[["path", "start", "end"]].itertuples(index=False)
        items = [(root / path, start, end) for path, start, end in rows]
        spectrograms = map_clips(work, items, desc=f"mel {split}")
        frames.write_frames(f"data/mel/{split}", zip(part["fname"], spectrograms, strict=True), n_mels=p.mel.n_mels)


if __name__ == "__main__":
    run(main)
