"""Logarithms with a floor."""

import numpy as np

from fsat.core.numeric import log_probabilities


def test_log_probabilities_have_a_floor() -> None:
    logs = log_probabilities(np.array([0.0, 1e-30, 0.5], dtype=np.float32))
    np.testing.assert_allclose(logs, np.log([1e-7, 1e-7, 0.5]))
