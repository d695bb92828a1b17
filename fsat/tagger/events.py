"""Windows to events: neighbouring windows with the same label become one stretch of sound."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from fsat.core.errors import FsatError
from fsat.tagger.tagger import Tagged
from fsat.tagger.windows import Failed


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


def file_events(windows: Iterable[Tagged], threshold: float) -> list[Event]:
    """Events of one file's windows, which come in order, by start and label.

    A window has every label whose probability is at least `threshold`; neighbouring windows that have a label become
    one event of it.
    """
    events: list[Event] = []
    open_events: dict[int, tuple[Tagged, Tagged, list[float]]] = {}

    def close(number: int) -> None:
        first, last, found = open_events.pop(number)
        mean = sum(found) / len(found)
        events.append(Event(first.path, first.start_s, last.end_s, first.labels[number], mean))

    for window in windows:
        held = {number for number, p in enumerate(window.probabilities) if p >= threshold}
        for number in open_events.keys() - held:
            close(number)
        for number in held:
            first, _, found = open_events.get(number, (window, window, []))
            open_events[number] = (first, window, [*found, float(window.probabilities[number])])
    for number in list(open_events):
        close(number)
    return sorted(events, key=lambda event: (event.start_s, event.label))


def events_of(results: Iterable[Tagged | Failed], threshold: float) -> Iterator[Event | Failed]:
    """Events of the windows of many files, file after file, and the files that failed.

    `FsatError` if the threshold is not between 0 and 1.
    """
    if not 0 < threshold <= 1:
        raise FsatError(f"--threshold must be above 0 and at most 1. Got {threshold}.")
    return _events(results, threshold)


def _events(results: Iterable[Tagged | Failed], threshold: float) -> Iterator[Event | Failed]:
    for _, group in groupby(results, key=_Numbered()):
        failures: list[Failed] = []
        yield from file_events(_without(group, failures), threshold)
        yield from failures


class _Numbered:
    """Function that numbers the files of results; one that is named twice in a row begins where time goes back."""

    def __init__(self) -> None:
        self.path, self.start_s, self.number = "", 0.0, 0

    def __call__(self, result: Tagged | Failed) -> int:
        start_s = self.start_s if isinstance(result, Failed) else result.start_s
        again = isinstance(result, Tagged) and start_s <= self.start_s
        self.number += result.path != self.path or again
        self.path, self.start_s = result.path, start_s
        return self.number


def _without(results: Iterable[Tagged | Failed], failures: list[Failed]) -> Iterator[Tagged]:
    """The windows among the results, which are never all in memory; failures go to a list."""
    for result in results:
        if isinstance(result, Failed):
            failures.append(result)
        else:
            yield result
