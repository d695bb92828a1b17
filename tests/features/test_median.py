"""The running median is SciPy's."""

import numpy as np
import pytest
import scipy.ndimage

from fsat.features import median


@pytest.mark.parametrize("shape", [(1, 31), (31, 40), (70, 1000), (2000, 33)])
def test_medians_of_random_and_of_tied_values_are_those_of_scipy(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).exponential(10, shape).astype(np.float32)
    for values in (rows, np.floor(rows), np.asfortranarray(rows)):
        expected = scipy.ndimage.median_filter(values, (1, median.WIDTH))[:, 15:-15]
        np.testing.assert_array_equal(median.running(values), expected)
