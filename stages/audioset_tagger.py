"""Source: a published AudioSet network with its own 527 labels -> `data/bundles/audioset/`, ready to tag."""

import os
from pathlib import Path

from fsat.core import keras_backend, params
from fsat.core.stage import run
from fsat.features import mel_bank
from fsat.sources import audioset_labels, download, published_networks, torch_checkpoint
from fsat.tagger import bundler
from fsat.tagger.bundle import Published

# Outside data/, because DVC removes a stage's output before it runs.
KEPT = Path("state/download")


def main() -> None:
    """Write the bundle: one network, sigmoid, a clip is seen once, whole. Independent of `model` and `mel`."""
    p = params.read()
    chosen, table = published_networks.NETWORKS[p.sources.audioset.network], published_networks.AUDIOSET_LABELS
    labels = audioset_labels.read(download.fetch(table, KEPT))
    tensors = torch_checkpoint.read(download.fetch(chosen.file, KEPT))
    keras_backend.use()
    from fsat.networks import published

    network, parameters, n_embedding = published.convert(tensors, width=chosen.width)
    written = bundler.write_published(
        "data/bundles/audioset",
        network=network,
        n_embedding=n_embedding,
        parameters=parameters,
        architecture={"backbone": "EfficientAT", "width": chosen.width},
        labels=labels,
        mel=published.FRONT_END,
        bank=mel_bank.kaldi(mel_bank.for_mel(published.FRONT_END)),
        trained_on="AudioSet",
        published=[
            Published(
                what="weights",
                credit="F. Schmid, K. Koutini, G. Widmer, EfficientAT (ICASSP 2023)",
                page=published_networks.PAGE,
                license=chosen.license,
                sha256=chosen.file.sha256,
            ),
            Published(
                what="names of the labels",
                credit="Google: AudioSet (J. F. Gemmeke and others, ICASSP 2017)",
                page="https://research.google.com/audioset/",
                license="dataset CC BY 4.0; its ontology, which the names are from, CC BY-SA 4.0",
                sha256=table.sha256,
            ),
        ],
        scores={"reported": f"mean average precision of {chosen.reported_map} on AudioSet's evaluation clips"},
    )
    print(f"{written.folder}: {len(labels)} labels. Try: fsat tag --model {written.folder} clip.wav")


if __name__ == "__main__":
    # The converter reads TensorFlow's graphs.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    run(main)
