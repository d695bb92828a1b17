"""A bundle's arrays, each checked before it is used: filters, projection, regression, embeddings of training clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.features import mel_bank, pca, spectral
from fsat.features.mel_bank import BandGroup
from fsat.scoring.names import Stage
from fsat.tagger.bundle import BASELINE, MEL_FILTERS, PROJECTION, SPECTRAL_FILTERS, Bundle, reference_name

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


def load_baseline(bundle: Bundle, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C, k) and bias (C,) of the regression that stage 2 is fused with, if they fit the bundle and k."""
    path = bundle.folder / BASELINE
    arrays = files.read_npz(path, bundle.content(BASELINE))
    n_labels = len(bundle.manifest.labels)
    for name, shape in {"weights": (n_labels, n_features), "bias": (n_labels,)}.items():
        array = arrays.get(name, np.zeros(0))
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise FsatError(f"{path}: has no {name} of shape {shape}. Make the bundle anew: `dvc repro bundle`.")
    return arrays["weights"], arrays["bias"]


def load_projection(bundle: Bundle, stage: Stage) -> pca.Projection:
    """The projection, if it takes this version's statistics and gives what the networks need."""
    path = bundle.folder / PROJECTION
    projection = pca.load(path, bundle.content(PROJECTION))
    section = bundle.manifest.preprocessing.spectral
    names = spectral.feature_names(n_mfcc=section.n_mfcc) if section is not None else []
    needed = bundle.manifest.networks[stage].n_components
    if len(projection.components) != needed or projection.columns != names:
        raise FsatError(
            f"{path}: does not fit: it makes {len(projection.components)} components of {len(projection.columns)} "
            f"statistics, the networks need {needed} of {len(names)}. Make the bundle anew: `dvc repro bundle`."
        )
    return projection


def load_references(bundle: Bundle, stage: Stage, folds: Sequence[int]) -> dict[int, np.ndarray]:
    """Embeddings (k, E) of training clips by the network of each fold; none where the stage marks no clips.

    `FsatError` if a file was changed, is damaged, or holds what are no embeddings of that network.
    """
    is_marked = stage in bundle.manifest.marked_stages
    return {fold: _reference(bundle, stage, fold) for fold in folds} if is_marked else {}


def _reference(bundle: Bundle, stage: Stage, fold: int) -> np.ndarray:
    name = reference_name(stage, fold)
    width = bundle.manifest.networks[stage].n_embedding
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
