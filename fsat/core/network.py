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
    """Refuse a network whose outputs are not `labels`, in that order.

    Parameters
    ----------
    trained : object
        What its `summary.json` holds under "labels"; None where there is nothing.
    labels : sequence of str
        `output_labels`.
    network : str
        Its name in the message.

    Raises
    ------
    FsatError
        If they differ.
    """
    if trained == list(labels):
        return
    if not isinstance(trained, list) or len(trained) == len(labels):
        raise FsatError(f"{network} was trained on other labels than data/folds.csv has. Run `dvc repro`.")
    raise FsatError(
        f"{network} was trained on {len(trained)} labels, data/folds.csv has {len(labels)}. Run `dvc repro`."
    )
