"""How well events agree with annotations: event-based and segment-based F1.

Source: Mesaros, Heittola, Virtanen, Metrics for Polyphonic Sound Event Detection, 2016.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Span = tuple[float, float]  # start and end in seconds
COLLAR_S, SHARE, SEGMENT_S = 0.5, 0.5, 1.0
_ROUNDING_S = 1e-6


def scores(
    annotated: Mapping[str, Mapping[str, Sequence[Span]]],
    found: Mapping[str, Mapping[str, Sequence[Span]]],
    labels: Sequence[str],
) -> dict[str, Any]:
    """F1 in all (counts of all labels added), and of each label: ``{"event": ..., "segment": ...}`` each.

    Parameters
    ----------
    annotated, found : mapping of recording to mapping of label to spans
        Recordings of `found` that are not annotated do not count.
    labels : sequence of str
        Those that are scored. One that is neither annotated nor found has no F1, and is left out.
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
    pairs = [
        [
            number
            for number, (start, end) in enumerate(found)
            if abs(start - first) <= COLLAR_S + _ROUNDING_S
            and abs(end - last) <= max(COLLAR_S, SHARE * (last - first)) + _ROUNDING_S
        ]
        for first, last in annotated
    ]
    owner: dict[int, int] = {}

    def place(one: int, seen: set[int]) -> bool:
        """Give an annotation a partner, moving others to another one of theirs (augmenting path)."""
        for number in pairs[one]:
            if number not in seen:
                seen.add(number)
                if number not in owner or place(owner[number], seen):
                    owner[number] = one
                    return True
        return False

    right = sum(place(one, set()) for one in range(len(annotated)))
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
