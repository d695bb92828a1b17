"""Source: the published AudioSet network with its own 527 labels -> `data/bundles/audioset/`, ready to tag."""

import os
from pathlib import Path

from fsat.core import params
from fsat.core.stage import run
from fsat.features import mel_bank
from fsat.sources import audioset_labels, download, torch_checkpoint
from fsat.tagger import bundler
from fsat.tagger.bundle import Published

OUT = Path("data/bundles/audioset")
# Outside data/, because DVC removes a stage's output before it runs.
KEPT = Path("state/download")


def main() -> None:
    """Write the bundle: one network, sigmoid, a clip is seen once, whole. Independent of `model` and `mel`."""
    p = params.read(
        "sources.audioset.url", "sources.audioset.sha256", "sources.audioset.labels.url",
        "sources.audioset.labels.sha256",
    )  # fmt: skip
    source = p.sources.audioset
    KEPT.mkdir(parents=True, exist_ok=True)
    table = download.fetch(source.labels.url, KEPT / "audioset_labels.csv", sha256=source.labels.sha256)
    checkpoint = download.fetch(source.url, KEPT / "audioset.pt", sha256=source.sha256)
    labels, tensors = audioset_labels.read(table), torch_checkpoint.read(checkpoint)
    from fsat.networks import published

    network = published.convert(tensors)
    reported = published.REPORTED_MAP.get(source.sha256)
    on = "on AudioSet's evaluation clips"
    written = bundler.write_published(
        OUT,
        network=network.onnx,
        n_embedding=network.n_embedding,
        parameters=network.parameters,
        architecture={"backbone": "EfficientAT", "width": network.width},
        labels=labels,
        mel=published.FRONT_END,
        bank=mel_bank.kaldi(mel_bank.for_mel(published.FRONT_END)),
        trained_on="AudioSet",
        published=[
            Published(
                what="weights",
                credit="F. Schmid, K. Koutini, G. Widmer, EfficientAT (ICASSP 2023)",
                page="https://github.com/fschmid56/EfficientAT",
                license="MIT",
                sha256=source.sha256,
            ),
            Published(
                what="names of the labels",
                credit="Google: AudioSet (J. F. Gemmeke and others, ICASSP 2017)",
                page="https://research.google.com/audioset/",
                license="dataset CC BY 4.0; its ontology, which the names are from, CC BY-SA 4.0",
                sha256=source.labels.sha256,
            ),
        ],
        scores={} if reported is None else {"reported": f"mean average precision of {reported} {on}"},
    )
    print(f"{written.folder}: {len(labels)} labels. Try: fsat tag --model {written.folder} clip.wav")


if __name__ == "__main__":
    # The converter reads TensorFlow's graphs.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    run(main)
