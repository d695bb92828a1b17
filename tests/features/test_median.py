"""The running median is SciPy's."""

import numpy as np
import pytest
import scipy.ndimage

from fsat.features import median


@pytest.mark.parametrize("n", [0, 1, 15, 31, 1000, 16 * 4000 + 1])
def test_medians_of_random_and_of_tied_values_are_those_of_scipy(n: int) -> None:
    x = np.random.default_rng(n).exponential(10, n).astype(np.float32)
    for values in (x, np.floor(x)):
        padded = np.pad(values, 15)
        np.testing.assert_array_equal(
            median.running(values), scipy.ndimage.median_filter(padded, median.WIDTH)[15 : 15 + n]
        )
