"""From which probability on a window has a label: a threshold a label, by precision and recall on held-out sound."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Windows that thresholds are chosen for, and that `fsat tag --events` takes unless it is told others.
SEGMENT_S, HOP_S = 1.0, 0.25
GRID = np.round(np.arange(1, 50) / 50, 2)  # thresholds that are tried
UNCHOSEN = 0.5  # where there is nothing to choose by
MIN_EXAMPLES = 10


def curves(probabilities: np.ndarray, holds: np.ndarray, labels: Sequence[str]) -> "pd.DataFrame":
    """Precision and recall of each label at each threshold of `GRID`.

    `probabilities`, (n, C), are of windows or clips, by models that did not see them; `holds`, bool (n, C), says
    whether each has the label. The columns are label, threshold, precision (NaN where nothing reaches the threshold),
    recall (NaN without an example), f1.
    """
    import pandas as pd

    parts = []
    for number, label in enumerate(labels):
        p, true = probabilities[:, number], holds[:, number]
        found = len(p) - np.searchsorted(np.sort(p), GRID)  # how many reach a threshold
        right = true.sum() - np.searchsorted(np.sort(p[true]), GRID)
        with np.errstate(invalid="ignore"):
            precision, recall = right / found, right / np.full(len(GRID), true.sum())
        f1 = 2 * right / np.maximum(found + true.sum(), 1)
        values = {"threshold": GRID, "precision": precision, "recall": recall, "f1": f1}
        parts.append(pd.DataFrame({"label": label, **values}))
    return pd.concat(parts, ignore_index=True)


def choose(
    table: "pd.DataFrame", examples: Mapping[str, int], *, precision: float, nearest: bool = False
) -> tuple[dict[str, float], dict[str, str]]:
    """Threshold of each label: that of highest F1 among those at which it is right often enough, the lowest of equals.

    Parameters
    ----------
    table : pd.DataFrame
        Result of `curves`; `f1` may be that of events.
    examples : mapping of label to int
        How many held-out clips or annotations each label has; fewer than `MIN_EXAMPLES` choose nothing.
    precision : float
        Share of what reaches a threshold that must have the label.
    nearest : bool
        A label that is never right often enough has the threshold of highest precision that is not below `UNCHOSEN`:
        in a recording, `UNCHOSEN` makes so many wrong events that those of other labels drown.

    Returns
    -------
    thresholds : dict of label to float
    unchosen : dict of label to str
        Why a label has `UNCHOSEN`, or the nearest threshold.
    """
    chosen, why = {}, {}
    for name, rows in table.groupby("label", sort=False):
        label, n = str(name), examples.get(str(name), 0)
        f1, levels, right = (rows[column].to_numpy(np.float64) for column in ("f1", "threshold", "precision"))
        allowed = np.where((right >= precision) & (right > 0), f1, -1.0)
        if n < MIN_EXAMPLES:
            why[label] = f"{n} held-out examples, fewer than {MIN_EXAMPLES}"
        elif allowed.max() >= 0:
            chosen[label] = float(levels[np.argmax(allowed)])
        else:
            why[label] = f"at no threshold right in {precision:.0%} of what reaches it"
            above = np.where(levels >= UNCHOSEN, np.nan_to_num(right), 0.0)
            if nearest and above.max() > 0:
                chosen[label] = float(levels[np.argmax(above)])
    return {str(label): chosen.get(str(label), UNCHOSEN) for label in table["label"].unique()}, why


def holding(centres: np.ndarray, spans: Sequence[tuple[float, float, str]], labels: Sequence[str]) -> np.ndarray:
    """Whether each window of a recording has each label, bool (n, C): whether its centre is in an annotation of it.

    >>> holding(np.array([0.5, 2.0]), [(0.0, 1.0, "Bark")], ["Bark", "Rain"])
    array([[ True, False],
           [False, False]])
    """
    found = np.zeros((len(centres), len(labels)), dtype=bool)
    number = {label: column for column, label in enumerate(labels)}
    for start, end, label in spans:
        if label in number:
            found[(centres >= start) & (centres < end), number[label]] = True
    return found


def nearest_fold(centres: np.ndarray, spans: Sequence[tuple[float, float, int]]) -> np.ndarray:
    """Fold of the clip that is nearest to each time of a recording, int64 (n,); spans are start, end and fold.

    >>> nearest_fold(np.array([0.5, 7.0]), [(0.0, 2.0, 1), (8.0, 9.0, 0)])
    array([1, 0])
    """
    starts, ends, folds = (np.array(values) for values in zip(*spans, strict=True))
    times = centres[:, None]
    distances = np.maximum(0, np.maximum(starts - times, times - ends))
    return folds[np.argmin(distances, axis=1)].astype(np.int64)
