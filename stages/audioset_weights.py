"""Source: AudioSet weights of EfficientAT, from the published PyTorch checkpoint."""

from pathlib import Path

from fsat.core import keras_backend, params
from fsat.core.stage import run
from fsat.sources import download, published_networks, torch_checkpoint

OUT = Path("data/pretrained/audioset.weights.h5")
# Outside data/, because DVC removes a stage's output before it runs.
KEPT = Path("state/download")


def main() -> None:
    """Write `data/pretrained/audioset.weights.h5`: the trunk, and beside it the hidden layer of the published head."""
    p = params.read()
    network = published_networks.NETWORKS[p.sources.audioset.network]
    tensors = torch_checkpoint.read(download.fetch(network.file, KEPT))
    keras_backend.use(p.train.backend)
    from fsat.networks import efficientat, model

    tagger = efficientat.build_tagger(network.width)
    efficientat.fill(tagger, tensors, width=network.width)
    hidden = tuple(tagger.get_layer("classifier.2").get_weights())
    model.save_trunk(tagger.get_layer("trunk"), OUT, pretrained_on="AudioSet", hidden=hidden)


if __name__ == "__main__":
    run(main)
