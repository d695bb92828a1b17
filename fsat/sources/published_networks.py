"""The networks that were published with AudioSet weights, and AudioSet's table of labels: a table of facts.

F. Schmid, K. Koutini, G. Widmer: Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation.
ICASSP 2023. Parameter `sources.audioset.network` chooses one; its width is the number in its name / 10.

A test that downloads from this machine sets other tables, or writes this file anew in a copy of the project.
"""

from dataclasses import dataclass

from fsat.sources.download import RemoteFile

PAGE = "https://github.com/fschmid56/EfficientAT"
_HERE = "fsat/sources/published_networks.py"


@dataclass(frozen=True)
class Network:
    """A checkpoint of EfficientAT, and its authors' mean average precision on AudioSet's evaluation clips."""

    file: RemoteFile
    width: float
    reported_map: float
    license: str


NETWORKS = {
    "mn04": Network(
        RemoteFile(
            f"{PAGE}/releases/download/v0.0.1/mn04_as_mAP_432.pt", f"{_HERE}, mn04", n_bytes=4_066_513,
            sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
        ), width=0.4, reported_map=0.432, license="MIT",
    ),
    "mn10": Network(
        RemoteFile(
            f"{PAGE}/releases/download/v0.0.1/mn10_as_mAP_471.pt", f"{_HERE}, mn10", n_bytes=19_708_753,
            sha256="0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e",
        ), width=1.0, reported_map=0.471, license="MIT",
    ),
}  # fmt: skip

# Names of a network's 527 outputs.
AUDIOSET_LABELS = RemoteFile(
    "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/class_labels_indices.csv",
    sha256="cdd1049833c4b86127c2773ac0d14a2754b6a6d0d1798002ed5c66e699708429",
    n_bytes=14_675,
    listed_in=f"{_HERE}, AUDIOSET_LABELS",
)
