"""Source: ImageNet weights of the backbone, downloaded by Keras."""

import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING

from fsat.core import keras_backend, params
from fsat.core.errors import FsatError
from fsat.core.stage import run

if TYPE_CHECKING:
    import keras

OUT = Path("data/pretrained/imagenet.weights.h5")


def download_trunk(backbone: str, width: float) -> "keras.Model":
    """The backbone with ImageNet weights; `FsatError` says what to do where there is no network."""
    from fsat.networks import model

    try:
        return model.build_trunk(backbone, width=width, weights="imagenet")
    except Exception as error:
        # Keras turns what urllib raises into a bare Exception; any other one passes.
        if not isinstance(error.__context__, urllib.error.URLError) and not isinstance(error, OSError):
            raise
        raise FsatError(
            f"The ImageNet weights of {backbone} cannot be downloaded ({error}). Run this where there is a network; or "
            "put a .weights.h5 file of the backbone, without its top, anywhere and point model.weights at it; or use "
            "data/pretrained/random.weights.h5."
        ) from error


def main() -> None:
    """Write `data/pretrained/imagenet.weights.h5`."""
    p = params.read()
    keras_backend.use(p.train.backend)
    from fsat.networks import model

    model.save_trunk(download_trunk(p.model.backbone, p.model.width), OUT, pretrained_on="ImageNet")


if __name__ == "__main__":
    run(main)
