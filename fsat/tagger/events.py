"""Windows to events: neighbouring windows with the same label become one stretch of sound."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from fsat.clips.annotations import BACKGROUND
from fsat.core.errors import FsatError
from fsat.scoring.thresholds import UNCHOSEN
from fsat.tagger.results import Ended, Failed, Tagged

Threshold = float | Mapping[str, float]  # least probability of a label in a window: one of all, or by label
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Event:
    """A label that holds from `start_s` to `end_s` of a file; `probability` is the mean over its windows."""

    path: str
    start_s: float
    end_s: float
    label: str
    probability: float

    def top(self, k: int) -> list[tuple[str, float]]:
        """Label and probability, whatever `k` is: the counterpart of `Tagged.top`."""
        return [(self.label, self.probability)][:k]


def file_events(windows: Iterable[Tagged], threshold: Threshold, *, hop_s: float) -> list[Event]:
    """Events of one file's windows, which come in order, every `hop_s` seconds; by start and label.

    A window has every label whose probability is at least its threshold, but for `BACKGROUND`. It speaks for half a hop
    on both sides of its centre; what windows say of a label is one event unless a gap of at least a hop is between.
    """
    events: list[Event] = []
    open_events: dict[int, tuple[float, float, list[float]]] = {}
    levels: list[float] = []
    path, labels = "", list[str]()

    def close(number: int) -> None:
        start, end, found = open_events.pop(number)
        events.append(Event(path, start, end, labels[number], sum(found) / len(found)))

    for window in windows:
        if not levels:
            path, labels = window.path, list(window.labels)
            levels = [threshold.get(one, UNCHOSEN) if isinstance(threshold, Mapping) else threshold for one in labels]
        centre = (window.start_s + window.end_s) / 2
        start, end = max(centre - hop_s / 2, window.start_s), min(centre + hop_s / 2, window.end_s)
        for number in [number for number, one in open_events.items() if start - one[1] > hop_s - _ROUNDING_S]:
            close(number)
        for number, (label, p) in enumerate(zip(labels, window.probabilities, strict=True)):
            if p >= levels[number] and label != BACKGROUND:
                first, _, before = open_events.get(number, (start, end, []))
                open_events[number] = (first, end, [*before, float(p)])
    for number in list(open_events):
        close(number)
    return sorted(events, key=lambda event: (event.start_s, event.label))


def events_of(
    results: Iterable[Tagged | Failed | Ended], threshold: Threshold, *, hop_s: float
) -> Iterator[Event | Failed | Ended]:
    """Events of the windows of many files, file after file, each of which ends with `Failed` or `Ended`.

    `FsatError` if the threshold is not between 0 and 1.
    """
    if not isinstance(threshold, Mapping) and not 0 < threshold <= 1:
        raise FsatError(f"--threshold must be above 0 and at most 1. Got {threshold}.")
    return _events(results, threshold, hop_s)


def _events(
    results: Iterable[Tagged | Failed | Ended], threshold: Threshold, hop_s: float
) -> Iterator[Event | Failed | Ended]:
    n_ended = 0

    def number(result: Tagged | Failed | Ended) -> int:
        nonlocal n_ended
        own = n_ended
        n_ended += not isinstance(result, Tagged)
        return own

    for _, group in groupby(results, key=number):
        ends: list[Failed | Ended] = []
        yield from file_events(_without(group, ends), threshold, hop_s=hop_s)
        yield from ends


def _without(results: Iterable[Tagged | Failed | Ended], ends: list[Failed | Ended]) -> Iterator[Tagged]:
    """The windows among the results, which are never all in memory; what ends a file goes to a list."""
    for result in results:
        if isinstance(result, Tagged):
            yield result
        else:
            ends.append(result)
