"""Source: random initial weights of the backbone, for a run without network."""

from fsat.core import keras_backend, params
from fsat.core.stage import run


def main() -> None:
    """Write `data/pretrained/random.weights.h5`."""
    p = params.read()
    keras_backend.use(p.train.backend)
    import keras

    from fsat.networks import model

    keras.utils.set_random_seed(p.seed)
    model.save_trunk(model.build_trunk(p.model.backbone, width=p.model.width), "data/pretrained/random.weights.h5")


if __name__ == "__main__":
    run(main)
