"""Source: download, check and unpack FSDKaggle2018."""

from fsat.core.stage import run
from fsat.sources import download, fsdkaggle2018

# Outside data/, because DVC removes a stage's output before it runs. Its zips may be deleted when the stage is done.
KEPT = "state/download"


def main() -> None:
    """Make `data/fsdkaggle2018` from the four zips."""
    download.fetch_dataset(fsdkaggle2018.ZIPS, "data/fsdkaggle2018", kept=KEPT)


if __name__ == "__main__":
    run(main)
