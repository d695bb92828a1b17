"""How well events agree with annotations: event-based and segment-based F1.

Source: Mesaros, Heittola, Virtanen, Metrics for Polyphonic Sound Event Detection, 2016.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

Span = tuple[float, float]  # start and end in seconds
COLLAR_S, SHARE, SEGMENT_S = 0.5, 0.5, 1.0
_ROUNDING_S = 1e-6


def scores(
    annotated: Mapping[str, Mapping[str, Sequence[Span]]],
    found: Mapping[str, Mapping[str, Sequence[Span]]],
    labels: Sequence[str],
) -> dict[str, Any]:
    """F1 in all (counts of all labels added), and of each label: ``{"event": ..., "segment": ...}`` each.

    Both tables hold spans by recording and label; recordings of `found` that are not annotated do not count. A label
    that is neither annotated nor found has no F1, and is left out.
    """
    result: dict[str, Any] = {}
    for name, count in (("event", _event_counts), ("segment", _segment_counts)):
        counts = {
            label: np.sum(
                [count(of.get(label, ()), found.get(path, {}).get(label, ())) for path, of in annotated.items()],
                axis=0,
            )
            for label in labels
        }
        total = np.sum([*counts.values()], axis=0)
        kept = {label: _f1(one) for label, one in counts.items() if one[1:].any()}
        result[name] = {"all": _f1(total), "labels": kept}
    return result


def _f1(counts: np.ndarray) -> float:
    """F1 of counts of right ones, annotated ones and found ones."""
    right, annotated, found = map(int, counts)
    return round(2 * right / (annotated + found), 6) if annotated + found else 0.0


def _event_counts(annotated: Sequence[Span], found: Sequence[Span]) -> tuple[int, int, int]:
    """Largest number of pairs with like onset and offset, each event in one pair; annotated ones; found ones."""
    if not annotated or not found:
        return 0, len(annotated), len(found)
    first, last = np.array(annotated).T[:, :, None]  # (n_annotated, 1) each
    start, end = np.array(found).T  # (n_found,) each
    offset_collar = np.maximum(COLLAR_S, SHARE * (last - first))
    is_like = (abs(start - first) <= COLLAR_S + _ROUNDING_S) & (abs(end - last) <= offset_collar + _ROUNDING_S)
    right = int((maximum_bipartite_matching(csr_array(is_like)) >= 0).sum())
    return right, len(annotated), len(found)


def _segment_counts(annotated: Sequence[Span], found: Sequence[Span]) -> tuple[int, int, int]:
    """Segments that hold part of an annotation and of an event; of an annotation; of an event."""
    one, other = _segments(annotated), _segments(found)
    return len(one & other), len(one), len(other)


def _segments(spans: Sequence[Span]) -> set[int]:
    return {
        number
        for start, end in spans
        for number in range(int(start // SEGMENT_S), int(np.ceil(round(end / SEGMENT_S, 6))))
    }
