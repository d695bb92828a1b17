"""Random generators that depend on what they are for, never on the order in which work is done."""

import hashlib

import numpy as np


def generator(seed: int, *key: int | str) -> np.random.Generator:
    """Generator for one purpose, e.g. ``generator(seed, "stage1", fold, epoch, batch)``.

    Equal arguments give equal streams on every machine; streams of different keys are independent.
    """
    return np.random.default_rng(np.random.SeedSequence(entropy(seed, *key)))


def fraction(seed: int, *key: int | str) -> float:
    """Uniform number in [0, 1) for one purpose; equal arguments give equal numbers on every machine.

    For single numbers: a generator takes thirty times as long to make.
    """
    return (entropy(seed, *key) >> 75) * 2.0**-53


def entropy(seed: int, *key: int | str) -> int:
    """128-bit integer that stands for ``(seed, *key)``; 1 and "1" are different keys."""
    text = repr((int(seed), *(part if isinstance(part, str) else int(part) for part in key)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
