"""Source: synthesise the demo dataset."""

from fsat import demo, files, params
from fsat.stage import run

OUT = "data/demo"


def main() -> None:
    """Make `data/demo`."""
    p = params.read("sources.demo.clips_per_class", "sources.demo.seed")
    with files.atomic_folder(OUT) as part:
        demo.write_dataset(part, clips_per_class=p.sources.demo.clips_per_class, seed=p.sources.demo.seed)


if __name__ == "__main__":
    run(main)
