"""`data/index.csv` and audio -> `data/trim.csv`: the interval of each clip that is not silence."""

from functools import partial
from itertools import chain
from pathlib import Path

from fsat.clips import recordings
from fsat.core import files, params
from fsat.core.parallel import map_clips
from fsat.core.stage import run
from fsat.features import trim


def main() -> None:
    """Trim all clips that can be read."""
    p = params.read()
    index = files.read_csv("data/index.csv")
    good = index["problem"].isna()
    # A test clip that cannot be read keeps its row, as an empty interval; a training clip is no use.
    table = index.loc[good | (index["split"] == "test"), ["split", "fname", "path"]].assign(start=0, end=0)
    if "start" in index:  # clips are stretches of recordings
        table = table.assign(from_s=index["start"], to_s=index["end"])
    readable = table.index[good[table.index]]
    root = Path(p.dataset.path).resolve()  # absolute, for workers elsewhere
    work = partial(trim.trim_interval, top_db=p.trim.top_db)
    read = partial(recordings.each, work=work, sample_rate=p.audio.sample_rate)
    intervals = map_clips(read, recordings.sounds(table.loc[readable], root, trimmed=False), desc="trim", unit="file")
    table.loc[readable, ["start", "end"]] = [list(interval) for interval in chain.from_iterable(intervals)]
    files.write_csv("data/trim.csv", table)


if __name__ == "__main__":
    run(main)
