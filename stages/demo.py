"""Source: synthesise the demo dataset."""

from fsat.core import files, params
from fsat.core.stage import run
from fsat.sources import demo


def main() -> None:
    """Make `data/demo`."""
    p = params.read()
    with files.atomic_folder("data/demo") as part:
        demo.write_dataset(part, clips_per_class=p.sources.demo.clips_per_class, seed=p.sources.demo.seed)


if __name__ == "__main__":
    run(main)
