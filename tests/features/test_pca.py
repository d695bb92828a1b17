"""Standardising and projecting the statistics."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.features import pca


def statistics(n: int, d: int, seed: int = 0) -> pd.DataFrame:
    """Correlated columns of very different sizes, one of them constant."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * 10.0 ** rng.integers(-3, 4, d) + rng.normal(size=d)
    values[:, d // 2] = 7.0
    return pd.DataFrame(values, columns=[f"s{number}" for number in range(d)])


@pytest.mark.parametrize(("n", "d", "k"), [(60, 20, 5), (60, 20, 100), (15, 40, 100)])
def test_equals_scikit_learns_pipeline(n: int, d: int, k: int) -> None:
    train, new = statistics(n, d), statistics(9, d, seed=1)
    projection, explained = pca.fit(train, n_components=k)
    used = len(explained)
    assert used == min(k, n - 1, d - 1)  # the constant column adds no direction
    pipeline = make_pipeline(StandardScaler(), PCA(used, svd_solver="full")).fit(train.to_numpy())
    for table in (train, new):
        ours = pca.project(table, projection)
        assert ours.shape == (len(table), used)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, pipeline.transform(table.to_numpy()), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(explained, pipeline[-1].explained_variance_ratio_, rtol=1e-9)


def test_a_clip_is_projected_alike_alone_and_with_columns_in_another_order() -> None:
    train = statistics(60, 20)
    projection, _ = pca.fit(train, n_components=5)
    together = pca.project(train, projection)
    alone = np.concatenate([pca.project(train.iloc[[row]], projection) for row in range(60)])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    shuffled = train[train.columns[::-1]].assign(other=1.0)
    assert np.array_equal(pca.project(shuffled, projection), together)


def test_equal_clips_add_no_direction() -> None:
    """Directions without variance would be rounding noise that a network's batch norm blows up."""
    few = statistics(6, 20)
    projection, explained = pca.fit(pd.concat([few] * 10), n_components=50)
    assert len(explained) == 5
    assert explained.sum() == pytest.approx(1.0)
    assert np.abs(pca.project(few, projection)).max() < 1e3


def test_survives_writing_and_reading(tmp_path: Path) -> None:
    train = statistics(30, 10)
    projection, _ = pca.fit(train, n_components=4)
    for name in ("first.npz", "second.npz"):
        pca.save(tmp_path / name, projection)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    again = pca.load(tmp_path / "first.npz")
    assert again.columns == projection.columns
    assert np.array_equal(pca.project(train, again), pca.project(train, projection))


def test_a_file_that_is_no_projection(tmp_path: Path) -> None:
    path = tmp_path / "projection.npz"
    files.write_npz(path, mean=np.zeros(3))
    with pytest.raises(FsatError, match="has no array 'scale'"):
        pca.load(path)
    arrays = {name: np.zeros(3) for name in ("mean", "scale", "center")}
    files.write_npz(path, **arrays, components=np.zeros((2, 4)), columns=np.array(["a", "b", "c"]))
    with pytest.raises(FsatError, match="do not fit together"):
        pca.load(path)


def test_values_that_are_not_finite_or_too_few_are_named() -> None:
    train = statistics(30, 10).set_index(pd.Index([f"{row}.wav" for row in range(30)]))
    projection, _ = pca.fit(train, n_components=4)
    train.loc["7.wav", "s3"] = np.nan
    with pytest.raises(FsatError, match=r"s3 of clip 7\.wav is nan"):
        pca.fit(train, n_components=4)
    with pytest.raises(FsatError, match=r"s3 of clip 7\.wav"):
        pca.project(train, projection)
    with pytest.raises(FsatError, match="at least 2 training clips"):
        pca.fit(statistics(1, 5), n_components=3)
    with pytest.raises(FsatError, match="the same statistics"):
        pca.fit(pd.concat([statistics(1, 5)] * 4), n_components=3)
