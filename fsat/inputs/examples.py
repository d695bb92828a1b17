"""Clips with what a network needs of them: frames and principal components; to train, labels and weights too."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fsat.core.errors import FsatError
from fsat.core.network import output_labels
from fsat.inputs.frames import FrameStore

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Clips:
    """What a network is asked about: row i of every array belongs to clip i of n."""

    fnames: list[str]
    store: FrameStore
    rows: np.ndarray  # int64 (n,): position of each clip in the store
    components: np.ndarray | None  # float32 (n, P)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_components(self) -> int:
        """Number of principal components, 0 without."""
        return 0 if self.components is None else self.components.shape[1]


@dataclass(frozen=True)
class Examples(Clips):
    """Clips whose labels are known, to train on or to validate on."""

    targets: np.ndarray  # float32 (n, C): one-hot labels
    weights: np.ndarray | None = None  # float32 (n,): of each clip in the loss, above 0; None where all are 1


def make_clips(store: FrameStore, fnames: Sequence[str], *, components: "pd.DataFrame | None" = None) -> Clips:
    """The named clips, in that order; `components` has the column fname and one a component.

    `FsatError` if a clip has no frames or no components.
    """
    values = None
    if components is not None:
        wanted = components.set_index("fname").reindex(list(fnames))
        if (lacking := wanted.isna().any(axis=1)).any():
            raise FsatError(f"No principal components for clip '{wanted.index[lacking][0]}'. Run `dvc repro pca`.")
        values = wanted.to_numpy(dtype=np.float32)
    return Clips(list(fnames), store, store.rows(fnames), values)


def make_examples(
    store: FrameStore,
    fnames: Sequence[str],
    *,
    labels: Sequence[str],
    classes: Sequence[str],
    components: "pd.DataFrame | None" = None,
    weights: np.ndarray | None = None,
) -> Examples:
    """The named clips with the label of each; see `make_clips`.

    `classes` are the C labels in the order of the network's outputs, `weights` (n,) those of the clips in the loss.
    """
    column = {label: number for number, label in enumerate(classes)}
    targets = np.zeros((len(fnames), len(classes)), dtype=np.float32)
    targets[np.arange(len(fnames)), [column[label] for label in labels]] = 1
    if weights is not None:
        weights = None if (weights == 1).all() else weights.astype(np.float32)
    return Examples(**vars(make_clips(store, fnames, components=components)), targets=targets, weights=weights)


def split_fold(
    store: FrameStore, folds: "pd.DataFrame", fold: int, *, components: "pd.DataFrame | None" = None
) -> tuple[Examples, Examples, list[str]]:
    """Training clips and held-out clips of one fold, and the labels in the order of the outputs.

    The first learn from corrected labels, without the clips of weight 0. The second are all clips that the fold holds
    out, with the dataset's own labels: what a correction changes is never what it is scored on. `folds` has the columns
    of `data/folds.csv`: fname, label, corrected, weight, fold.
    """
    classes = output_labels(folds)
    examples = partial(make_examples, store, classes=classes, components=components)
    rows = folds[(folds["fold"] != fold) & (folds["weight"] > 0)]
    weights = rows["weight"].to_numpy(np.float64)
    training = examples(rows["fname"].tolist(), labels=rows["corrected"].tolist(), weights=weights)
    rows = folds[folds["fold"] == fold]
    return training, examples(rows["fname"].tolist(), labels=rows["label"].tolist()), classes
