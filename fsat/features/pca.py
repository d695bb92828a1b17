"""Standardise the spectral statistics and project them on their principal components."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.core.numeric import one_blas_thread

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Projection:
    """A fitted projection of d statistics on k components, as plain arrays of float64."""

    mean: np.ndarray  # (d,): over the training clips
    scale: np.ndarray  # (d,): standard deviations; 1 for a constant statistic
    center: np.ndarray  # (d,): mean of the standardised statistics, which is 0 except for rounding
    components: np.ndarray  # (k, d): rows of unit length, by decreasing variance; the largest entry of each is positive
    columns: list[str]  # names of the statistics


def fit(statistics: "pd.DataFrame", *, n_components: int) -> tuple[Projection, np.ndarray]:
    """Fit ``make_pipeline(StandardScaler(), PCA(k))``; k is `n_components`, or the rank of the data if that is less.

    n clips have a rank of at most n - 1, and a lower one if some are equal.

    Parameters
    ----------
    statistics : pd.DataFrame [shape=(n, d)]
        Numbers only, one row a training clip.
    n_components
        Components wanted, at least 1.

    Returns
    -------
    projection : Projection
    explained : np.ndarray [shape=(k,), dtype=float64]
        Share of the variance that each component explains.

    Raises
    ------
    FsatError
        If a value is not finite, or the clips do not differ at all.
    """
    # scikit-learn takes about a second to import.
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values = _finite(statistics)
    n, d = values.shape
    if n < 2:
        raise FsatError(f"principal components need at least 2 training clips, there are {n}.")
    scaler, pca = StandardScaler(), PCA(min(n_components, n - 1, d), svd_solver="full")
    with one_blas_thread(), np.errstate(invalid="ignore"):
        make_pipeline(scaler, pca).fit(values)
    rounding = max(n, d) * np.finfo(np.float64).eps
    rank = int((pca.singular_values_ > rounding * max(pca.singular_values_[0], 1.0)).sum())
    if rank == 0:
        raise FsatError("all training clips have the same statistics: no principal component. Check the dataset.")
    projection = Projection(
        scaler.mean_, scaler.scale_, pca.mean_, pca.components_[:rank], [str(name) for name in statistics.columns]
    )
    return projection, pca.explained_variance_ratio_[:rank]


def project(statistics: "pd.DataFrame", projection: Projection) -> np.ndarray:
    """Principal components of any clips, whether the projection was fitted on them or not.

    Parameters
    ----------
    statistics : pd.DataFrame [shape=(n, d)]
        Has the columns of the projection, in any order; others are ignored.

    Returns
    -------
    np.ndarray [shape=(n, k), dtype=float32]

    Raises
    ------
    FsatError
        If a value is not finite.
    """
    return project_rows(_finite(statistics[projection.columns]), projection)


def table(statistics: "pd.DataFrame", projection: Projection) -> "pd.DataFrame":
    """Principal components as `data/pca/` keeps them: fname (the index of `statistics`), ``pc000``, ``pc001``, ..."""
    import pandas as pd

    names = [f"pc{number:03d}" for number in range(len(projection.components))]
    components = pd.DataFrame(project(statistics, projection), columns=names)
    components.insert(0, "fname", statistics.index)
    return components


def held_out(statistics: "pd.DataFrame", fnames: Iterable[str], *, n_components: int) -> "pd.DataFrame":
    """Components of all clips as of `table`, by a projection that is fitted without the clips `fnames`."""
    projection, _ = fit(statistics.drop(index=list(fnames)), n_components=n_components)
    return table(statistics, projection)


def project_rows(values: np.ndarray, projection: Projection) -> np.ndarray:
    """Principal components, float32 (n, k), of finite statistics, float64 (n, d), in the projection's order."""
    with one_blas_thread():
        standard = (values - projection.mean) / projection.scale - projection.center  # (n, d)
        components: np.ndarray = (standard @ projection.components.T).astype(np.float32)  # (n, k)
    return components


def save(path: str | Path, projection: Projection) -> None:
    """Write a projection as an npz file of plain arrays."""
    files.write_npz(path, **(vars(projection) | {"columns": np.array(projection.columns, dtype=np.str_)}))


def load(path: str | Path, content: bytes | None = None) -> Projection:
    """Read what `save` wrote; `FsatError` if the file is missing, damaged or no projection.

    `content` as for `files.read_npz`.
    """
    arrays = files.read_npz(path, content)
    try:
        mean, scale, center, components, columns = (arrays[field.name] for field in fields(Projection))
    except KeyError as missing:
        raise FsatError(f"{path}: has no array {missing}, so it is no projection. Run `dvc repro pca`.") from missing
    d = len(columns) if columns.ndim == 1 else -1
    numbers = all(np.issubdtype(array.dtype, np.floating) for array in (mean, scale, center, components))
    shapes = [array.shape for array in (mean, scale, center)]
    if not numbers or shapes != [(d,)] * 3 or components.ndim != 2 or components.shape[1] != d:
        raise FsatError(f"{path}: arrays do not fit together, so it is no projection. Run `dvc repro pca`.")
    return Projection(mean, scale, center, components, [str(name) for name in columns])


def _finite(statistics: "pd.DataFrame") -> np.ndarray:
    values = statistics.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        name, clip = statistics.columns[column], statistics.index[row]
        raise FsatError(f"statistic {name} of clip {clip} is {values[row, column]}. Run `dvc repro`.")
    return values
