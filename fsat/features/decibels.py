"""Power in decibels: the floor below which everything is silence, and the range below the loudest value.

Both are the defaults of `librosa.power_to_db`.
"""

import numpy as np

AMIN = 1e-10  # power that stands for silence: -100 dB
TOP_DB = 80.0  # quieter than this below a clip's maximum is cut off


def power_to_db(power: np.ndarray) -> np.ndarray:
    """Decibels relative to 1, cut off `TOP_DB` below the maximum; same shape and dtype."""
    db = 10 * np.log10(np.maximum(power, AMIN))
    return np.maximum(db, db.max() - TOP_DB)
