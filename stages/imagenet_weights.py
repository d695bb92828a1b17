"""Source: ImageNet weights of the backbone, downloaded by Keras."""

import urllib.error

from fsat.core import keras_backend, params
from fsat.core.errors import FsatError
from fsat.core.stage import run


def main() -> None:
    """Write `data/pretrained/imagenet.weights.h5`; where there is no network `FsatError` says what to do."""
    p = params.read()
    keras_backend.use(p.train.backend)
    from fsat.networks import model

    try:
        trunk = model.build_trunk(p.model.backbone, width=p.model.width, weights="imagenet")
    except Exception as error:
        # Keras turns what urllib raises into a bare Exception; any other one passes.
        if not isinstance(error.__context__, urllib.error.URLError) and not isinstance(error, OSError):
            raise
        raise FsatError(
            f"The ImageNet weights of {p.model.backbone} cannot be downloaded ({error}). Run this where there is a "
            "network; or put a .weights.h5 file of the backbone, without its top, anywhere and point model.weights at "
            "it; or use data/pretrained/random.weights.h5."
        ) from error
    model.save_trunk(trunk, "data/pretrained/imagenet.weights.h5", pretrained_on="ImageNet")


if __name__ == "__main__":
    run(main)
