"""Source: download, check and unpack FSDKaggle2018."""

from fsat.core import params
from fsat.core.stage import run
from fsat.sources import download

OUT = "data/fsdkaggle2018"
# Outside data/, because DVC removes a stage's output before it runs. Its zips may be deleted when the stage is done.
KEPT = "state/download"


def main() -> None:
    """Make `data/fsdkaggle2018` from the four zips."""
    p = params.read()
    md5 = {
        "audio_train": p.sources.fsdkaggle2018.md5.audio_train,
        "audio_test": p.sources.fsdkaggle2018.md5.audio_test,
        "meta": p.sources.fsdkaggle2018.md5.meta,
        "doc": p.sources.fsdkaggle2018.md5.doc,
    }
    base_url = p.sources.fsdkaggle2018.base_url
    download.fetch_dataset(download.FSDKAGGLE2018, OUT, base_url=base_url, md5=md5, kept=KEPT)


if __name__ == "__main__":
    run(main)
