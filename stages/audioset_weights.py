"""Source: AudioSet weights of EfficientAT, from the published PyTorch checkpoint."""

from pathlib import Path

from fsat.core import keras_backend, params
from fsat.core.errors import FsatError
from fsat.core.stage import run
from fsat.sources import download, torch_checkpoint

OUT = Path("data/pretrained/audioset.weights.h5")
# Outside data/, because DVC removes a stage's output before it runs.
KEPT = Path("state/download/audioset.pt")


def main() -> None:
    """Write `data/pretrained/audioset.weights.h5`: the trunk, without the published head."""
    p = params.read()
    if p.model.backbone != "EfficientAT":
        raise FsatError(f"AudioSet weights are those of model.backbone EfficientAT. It is {p.model.backbone}.")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    hint = "The sum of another width's checkpoint is for sources.audioset.sha256 to name."
    path = download.fetch(p.sources.audioset.url, KEPT, sha256=p.sources.audioset.sha256, parameter_hint=hint)
    tensors = torch_checkpoint.read(path)
    keras_backend.use(p.train.backend)
    from fsat.networks import efficientat, model

    network = efficientat.build_tagger(p.model.width, p.mel.n_mels)
    efficientat.fill(network, tensors, width=p.model.width)
    model.save_trunk(network.get_layer("trunk"), OUT, pretrained_on="AudioSet")


if __name__ == "__main__":
    run(main)
