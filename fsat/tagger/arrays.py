"""A bundle's arrays, each checked before it is used: filters, projection, regressions, embeddings of training clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.features import mel_bank, pca, spectral
from fsat.features.mel_bank import BandGroup
from fsat.tagger.bundle import (
    FITTED,
    MEL_FILTERS,
    PROJECTION,
    SPECTRAL_FILTERS,
    Bundle,
    Embedder,
    Read,
    reference_names,
)

_ROUNDING = 0.01  # of a unit vector's length in float16


@dataclass(frozen=True)
class Filters:
    """Mel filters of a bundle: those of the spectrograms, and those of the statistics where these are needed."""

    mel: list[BandGroup]
    spectral: list[BandGroup] | None


def load_filters(bundle: Bundle, *, statistics: bool) -> Filters:
    """The mel filters, with those of the statistics if asked for; `FsatError` if they do not fit the bundle."""

    def bank(name: str) -> list[BandGroup]:
        return mel_bank.read(bundle.folder / name, bundle.manifest.filters[name], bundle.content(name))

    return Filters(bank(MEL_FILTERS), bank(SPECTRAL_FILTERS) if statistics else None)


def load_regressions(bundle: Bundle, names: Sequence[Read]) -> dict[Read, tuple[np.ndarray, np.ndarray]]:
    """Weights (C, k) and bias (C,) of regressions by name, if they fit the bundle."""
    if not names:
        return {}
    path = bundle.folder / FITTED
    arrays = files.read_npz(path, bundle.content(FITTED))
    n_labels = len(bundle.manifest.labels)
    for name in names:
        for part, shape in {"weights": (n_labels, bundle.manifest.features[name]), "bias": (n_labels,)}.items():
            array = arrays.get(f"{name}.{part}", np.zeros(0))
            if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
                what = f"has no {name}.{part} of shape {shape}"
                raise FsatError(f"{path}: {what}. Make the bundle anew: `dvc repro bundle`.")
    return {name: (arrays[f"{name}.weights"], arrays[f"{name}.bias"]) for name in names}


def load_projection(bundle: Bundle) -> pca.Projection:
    """The projection, if it takes this version's statistics and gives what the models need."""
    path = bundle.folder / PROJECTION
    projection = pca.load(path, bundle.content(PROJECTION))
    section = bundle.manifest.preprocessing.spectral
    names = spectral.feature_names(n_mfcc=section.n_mfcc) if section is not None else []
    needed = bundle.manifest.n_components
    if len(projection.components) != needed or projection.columns != names:
        raise FsatError(
            f"{path}: does not fit: it makes {len(projection.components)} components of {len(projection.columns)} "
            f"statistics, the models need {needed} of {len(names)}. Make the bundle anew: `dvc repro bundle`."
        )
    return projection


def load_references(bundle: Bundle, embedder: Embedder, folds: Sequence[int]) -> dict[int, np.ndarray]:
    """Embeddings (k, E) of training clips by the network of each fold; of the view `last` one, under -1.

    `FsatError` if a file was changed, is damaged, or holds what are no such embeddings.
    """
    manifest = bundle.manifest
    width = manifest.features[embedder] if embedder == "last" else manifest.networks[embedder].n_embedding
    return {fold: _reference(bundle, name, width) for fold, name in reference_names(embedder, folds).items()}


def _reference(bundle: Bundle, name: str, width: int) -> np.ndarray:
    known = files.read_npz(bundle.folder / name, bundle.content(name)).get("embeddings", np.zeros(0))
    if (
        known.dtype != np.float16
        or known.ndim != 2
        or known.shape[1] != width
        or len(known) == 0
        or not np.abs(np.linalg.norm(known.astype(np.float64), axis=1) - 1).max() <= _ROUNDING  # NaN fails it too
    ):
        what = f"{bundle.folder / name}: has no embeddings of shape (k, {width}) and length 1"
        raise FsatError(f"{what}. Make the bundle anew: `dvc repro bundle`.")
    return known
