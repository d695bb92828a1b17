"""`data/index.csv` and audio -> `data/trim.csv`: the interval of each clip that is not silence."""

from functools import partial
from pathlib import Path

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
    readable = table.index[good[table.index]]
    root = Path(p.dataset.path).resolve()  # absolute, for workers elsewhere
    work = partial(trim.trim_clip, sample_rate=p.audio.sample_rate, top_db=p.trim.top_db)
    intervals = map_clips(work, [root / path for path in table.loc[readable, "path"]], desc="trim")
    table.loc[readable, ["start", "end"]] = [list(interval) for interval in intervals]
    files.write_csv("data/trim.csv", table)


if __name__ == "__main__":
    run(main)
