"""What is known of the networks without Keras: their total stride, and which output is which label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fsat.core.errors import FsatError

if TYPE_CHECKING:
    import pandas as pd

# Fewer frames or mel bands vanish before they are pooled.
STRIDE = 32


def output_labels(folds: "pd.DataFrame") -> list[str]:
    """Labels in the order of a network's outputs: those of `data/folds.csv` that are learned, in alphabetical order."""
    return sorted(folds["corrected"].unique())


def check_labels(trained: object, labels: Sequence[str], *, network: str) -> None:
    """`FsatError` if the outputs of `network` (its name in the message) are not `labels`, in that order.

    `trained` is what its `summary.json` holds under "labels", None if there is nothing; `labels` are `output_labels`.
    """
    if trained == list(labels):
        return
    if isinstance(trained, list) and len(trained) != len(labels):
        difference = f"on {len(trained)} labels, data/folds.csv has {len(labels)}"
    else:
        difference = "on other labels than data/folds.csv has"
    raise FsatError(f"{network} was trained {difference}. Run `dvc repro`.")
