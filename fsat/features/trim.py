"""The interval of a clip that is not silence, as `librosa.effects.trim` finds it."""

import numpy as np

from fsat.features.decibels import AMIN

FRAME_LENGTH, HOP_LENGTH = 2048, 512


def trim_interval(x: np.ndarray, *, top_db: float) -> tuple[int, int]:
    """Return the first sample and the end (exclusive) of what is within `top_db` of the loudest frame.

    Parameters
    ----------
    x : np.ndarray [shape=(n,), dtype=float32]
    top_db : float > 0
        Frames whose power is at least this far below that of the loudest frame are silence.

    Returns
    -------
    (start, end)
        Leading and trailing silence lies outside. A silent or empty signal stays whole.
    """
    power = np.maximum(_frame_power(x), AMIN)
    loud = np.flatnonzero(10 * np.log10(power) - 10 * np.log10(power.max()) > -top_db)
    return int(loud[0]) * HOP_LENGTH, min(len(x), (int(loud[-1]) + 1) * HOP_LENGTH)


def _frame_power(x: np.ndarray) -> np.ndarray:
    """Mean square of each centred frame, the signal padded with zeros: float64 (1 + n // HOP_LENGTH,)."""
    n_frames, n_hops = 1 + len(x) // HOP_LENGTH, FRAME_LENGTH // HOP_LENGTH
    # A frame is `n_hops` whole hops, so every sample is squared once instead of four times.
    n_whole = len(x) // HOP_LENGTH
    whole = x[: n_whole * HOP_LENGTH].reshape(n_whole, HOP_LENGTH)
    rest = np.pad(x[n_whole * HOP_LENGTH :], (0, -len(x) % HOP_LENGTH)).reshape(-1, HOP_LENGTH)
    energy = np.concatenate([np.einsum("ij,ij->i", hops, hops, dtype=np.float64) for hops in (whole, rest)])
    return np.convolve(np.pad(energy, n_hops // 2), np.ones(n_hops), "valid")[:n_frames] / FRAME_LENGTH
