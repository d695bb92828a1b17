"""Source: random initial weights of the backbone, for a run without network."""

import tempfile
from pathlib import Path

import keras

from fsat import model, params
from fsat.stage import run

OUT = Path("data/pretrained/random.weights.h5")


def main() -> None:
    """Write `data/pretrained/random.weights.h5`."""
    p = params.read("seed", "model.backbone", "model.width")
    keras.utils.set_random_seed(p.seed)
    trunk = model.build_trunk(p.model.backbone, width=p.model.width)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    # Keras insists on the ending .weights.h5, so the file is written under its own name in a folder beside it.
    with tempfile.TemporaryDirectory(dir=OUT.parent) as folder:
        trunk.save_weights(Path(folder) / OUT.name)
        (Path(folder) / OUT.name).replace(OUT)


if __name__ == "__main__":
    run(main)
