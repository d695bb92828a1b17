"""Clips with what a network needs of them: frames, principal components, labels, weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fsat.core.errors import FsatError
from fsat.inputs.frames import FrameStore

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Examples:
    """What a network trains on or is asked about: row i of every array belongs to clip i.

    Attributes
    ----------
    fnames : list of str, length n
    store : FrameStore
    rows : np.ndarray [shape=(n,), dtype=int64]
        Position of each clip in the store.
    components : np.ndarray [shape=(n, P), dtype=float32] or None
    targets : np.ndarray [shape=(n, C), dtype=float32]
        One-hot labels; all zero where the label is unknown.
    weights : np.ndarray [shape=(n,), dtype=float32] or None
        Weight of each clip in the loss, above 0; None where all are 1.
    """

    fnames: list[str]
    store: FrameStore
    rows: np.ndarray
    components: np.ndarray | None
    targets: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_components(self) -> int:
        """Number of principal components, 0 without."""
        return 0 if self.components is None else self.components.shape[1]


def make_examples(
    store: FrameStore,
    fnames: Sequence[str],
    *,
    labels: Sequence[str],
    classes: Sequence[str],
    components: "pd.DataFrame | None" = None,
    weights: np.ndarray | None = None,
) -> Examples:
    """Examples of the named clips, in that order.

    Parameters
    ----------
    labels : sequence of str, length n, or empty
        Label of each clip; empty where there are none.
    classes : sequence of str, length C
        The order of the network's outputs.
    components : pd.DataFrame or None
        fname and one column a component.
    weights : np.ndarray [shape=(n,)] or None
        Weight of each clip in the loss, above 0.

    Raises
    ------
    FsatError
        If a clip has no frames or no components.
    """
    targets = np.zeros((len(fnames), len(classes)), dtype=np.float32)
    if len(labels):
        column = {label: number for number, label in enumerate(classes)}
        targets[np.arange(len(fnames)), [column[label] for label in labels]] = 1
    values = None
    if components is not None:
        wanted = components.set_index("fname").reindex(list(fnames))
        if wanted.isna().any(axis=None):
            missing = wanted.index[wanted.isna().any(axis=1)][0]
            raise FsatError(f"No principal components for clip '{missing}'. Run `dvc repro pca`.")
        values = wanted.to_numpy(dtype=np.float32)
    if weights is not None:
        weights = None if (weights == 1).all() else weights.astype(np.float32)
    return Examples(list(fnames), store, store.rows(fnames), values, targets, weights)


def split_fold(
    store: FrameStore, folds: "pd.DataFrame", fold: int, *, components: "pd.DataFrame | None" = None
) -> tuple[Examples, Examples, list[str]]:
    """Training clips and held-out clips of one fold, and the classes in alphabetical order.

    The first learn from corrected labels, without the clips of weight 0. The second are all clips that the fold holds
    out, with the dataset's own labels: what a correction changes is never what it is scored on.

    Parameters
    ----------
    folds : pd.DataFrame
        `data/folds.csv`: fname, label, corrected, weight, fold.
    """
    classes = sorted(folds["corrected"].unique())
    rows = folds[(folds["fold"] != fold) & (folds["weight"] > 0)]
    training = make_examples(
        store,
        rows["fname"].tolist(),
        labels=rows["corrected"].tolist(),
        classes=classes,
        components=components,
        weights=rows["weight"].to_numpy(np.float64),
    )
    rows = folds[folds["fold"] == fold]
    heldout = make_examples(
        store, rows["fname"].tolist(), labels=rows["label"].tolist(), classes=classes, components=components
    )
    return training, heldout, classes
