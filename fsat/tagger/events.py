"""Windows to events: neighbouring windows with the same label become one stretch of sound."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from fsat.clips.annotations import BACKGROUND
from fsat.core.errors import FsatError
from fsat.tagger.tagger import Tagged
from fsat.tagger.windows import Ended, Failed


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

    A window has every label whose probability is at least `threshold`, but for `BACKGROUND`; neighbouring windows that
    have a label become one event of it.
    """
    events: list[Event] = []
    open_events: dict[int, tuple[Tagged, Tagged, list[float]]] = {}

    def close(number: int) -> None:
        first, last, found = open_events.pop(number)
        mean = sum(found) / len(found)
        events.append(Event(first.path, first.start_s, last.end_s, first.labels[number], mean))

    for window in windows:
        found = zip(window.labels, window.probabilities, strict=True)
        held = {number for number, (label, p) in enumerate(found) if p >= threshold and label != BACKGROUND}
        for number in open_events.keys() - held:
            close(number)
        for number in held:
            first, _, before = open_events.get(number, (window, window, []))
            open_events[number] = (first, window, [*before, float(window.probabilities[number])])
    for number in list(open_events):
        close(number)
    return sorted(events, key=lambda event: (event.start_s, event.label))


def events_of(results: Iterable[Tagged | Failed | Ended], threshold: float) -> Iterator[Event | Failed | Ended]:
    """Events of the windows of many files, file after file, each of which ends with `Failed` or `Ended`.

    `FsatError` if the threshold is not between 0 and 1.
    """
    if not 0 < threshold <= 1:
        raise FsatError(f"--threshold must be above 0 and at most 1. Got {threshold}.")
    return _events(results, threshold)


def _events(results: Iterable[Tagged | Failed | Ended], threshold: float) -> Iterator[Event | Failed | Ended]:
    n_ended = 0

    def number(result: Tagged | Failed | Ended) -> int:
        nonlocal n_ended
        own = n_ended
        n_ended += not isinstance(result, Tagged)
        return own

    for _, group in groupby(results, key=number):
        ends: list[Failed | Ended] = []
        yield from file_events(_without(group, ends), threshold)
        yield from ends


def _without(results: Iterable[Tagged | Failed | Ended], ends: list[Failed | Ended]) -> Iterator[Tagged]:
    """The windows among the results, which are never all in memory; what ends a file goes to a list."""
    for result in results:
        if isinstance(result, Tagged):
            yield result
        else:
            ends.append(result)
