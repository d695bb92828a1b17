"""Numerical helpers of several packages: logarithms of probabilities, one BLAS thread."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

# Smallest probability a logarithm is taken of: far from the float32 subnormals that 1e-38 would reach.
EPSILON = 1e-7

# The number of BLAS threads belongs to the process: two threads of it must not set and restore it at the same time.
_ONE_AT_A_TIME = threading.RLock()


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Natural logarithm of probabilities no smaller than `EPSILON`, float64."""
    return np.log(np.maximum(probabilities.astype(np.float64), EPSILON))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Compute with one BLAS thread: with more, sums would be rounded in an order that depends on the cores."""
    with _ONE_AT_A_TIME, _libraries(len(sys.modules)).limit(limits=1):
        yield


@lru_cache(maxsize=1)
def _libraries(n_modules: int) -> ThreadpoolController:
    """The BLAS and OpenMP libraries of this process, looked for (1 ms) anew after imports, which may bring others."""
    return ThreadpoolController()
