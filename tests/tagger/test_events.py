"""Windows become events, and label files hold what was printed."""

import io
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.tagger.event_f1 import of_windows
from fsat.tagger.events import Event, events_of, file_events
from fsat.tagger.output import RAVEN_HEADS, Printer
from fsat.tagger.results import Ended, Failed, Tagged

LABELS = ["Bark", "Gong\t\\\nHi-hat"]


def windows(rows: Sequence[tuple[float, float]], *, hop: float = 1.0, path: str = "x.wav") -> list[Tagged]:
    return [
        Tagged(path, number * hop, number * hop + 2.0, LABELS, np.array(row), None) for number, row in enumerate(rows)
    ]


def test_neighbours_with_a_label_are_one_event_with_their_mean() -> None:
    found = file_events(windows([(0.9, 0.1), (0.7, 0.6), (0.1, 0.8), (0.2, 0.2), (0.5, 0.0)]), 0.5, hop_s=1.0)
    assert [astuple(event) for event in found] == [
        ("x.wav", 0.5, 2.5, LABELS[0], pytest.approx(0.8)),
        ("x.wav", 1.5, 3.5, LABELS[1], pytest.approx(0.7)),
        ("x.wav", 4.5, 5.5, LABELS[0], 0.5),
    ]


def test_an_event_lasts_half_a_hop_around_its_windows_centres_and_bridges_less_than_a_hop() -> None:
    spans = [
        (0.0, 2.0),
        (0.5, 2.5),
        (1.4, 3.4),
        (2.6, 4.6),
    ]  # the third comes 0.9 s, the fourth 1.2 s after the one before
    found = file_events([Tagged("x.wav", *span, ["Bark"], np.array([0.9]), None) for span in spans], 0.5, hop_s=0.5)
    times = [time for event in found for time in (event.start_s, event.end_s)]
    assert times == pytest.approx([0.75, 2.65, 3.35, 3.85])
    whole = file_events([Tagged("x.wav", 0.0, 2.0, ["Bark"], np.array([0.9]), None)], 0.5, hop_s=2.0)
    assert [(event.start_s, event.end_s) for event in whole] == [(0.0, 2.0)]  # windows without overlap


def test_each_label_has_its_threshold() -> None:
    found = file_events(windows([(0.4, 0.6), (0.4, 0.6)]), {LABELS[0]: 0.3, LABELS[1]: 0.7}, hop_s=1.0)
    assert [event.label for event in found] == [LABELS[0]]
    assert [event.probability for event in file_events(windows([(1.0, 0.0)]), 1, hop_s=1.0)] == [
        1.0
    ]  # as a page has it


def test_background_is_no_event() -> None:
    labels = ["background", "Bark"]
    found = file_events([Tagged("x.wav", 0.0, 2.0, labels, np.array([0.9, 0.6]), None)], 0.5, hop_s=2.0)
    assert [event.label for event in found] == ["Bark"]


def test_windows_are_scored_in_order_of_time_although_two_folds_tagged_them() -> None:
    starts = [2.0, 3.0, 6.0, 0.0, 1.0, 4.0, 5.0]  # two folds, one after the other
    table = pd.DataFrame({"split": "heldout", "fold": 0, "path": "x.wav", "start_s": starts})
    table = table.assign(end_s=table["start_s"] + 1.0, Bark=[0.9, 0.1, 0.1, 0.1, 0.9, 0.1, 0.9], background=0.9)
    annotated = pd.DataFrame(
        [("x.wav", "Bark", 1.0, 3.0), ("x.wav", "Bark", 5.0, 6.0), ("y.wav", "Bark", 0.0, 1.0)],
        columns=["path", "label", "start", "end"],
    )
    right = {"all": 1.0, "labels": {"Bark": 1.0}}
    assert of_windows(table, annotated, {"Bark": 0.5}, 1.0) == {"event": right, "segment": right}
    assert of_windows(table[:0], annotated, 0.5, 1.0) == {}


def test_events_end_with_their_file_and_failures_follow() -> None:
    failure = Failed("y.wav", "truncated")
    x: list[Tagged | Failed | Ended] = [*windows([(0.9, 0.0), (0.9, 0.0)]), Ended("x.wav")]
    found = list(
        events_of([*x, *x, Ended("silent.wav"), *windows([(0.8, 0.0)], path="y.wav"), failure], 0.5, hop_s=1.0)
    )
    one = [Event("x.wav", 0.5, 2.5, LABELS[0], 0.9), Ended("x.wav")]
    assert found[:-2] == [*one, *one, Ended("silent.wav")]  # one that is named twice in a row, one without events
    assert [(event.path, type(event)) for event in found[-2:]] == [("y.wav", Event), ("y.wav", Failed)]


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(FsatError, match="--threshold must be above 0 and at most 1"):
        list(events_of([], threshold, hop_s=1.0))


def printed(form: str, events: list[Event]) -> str:
    stream = io.StringIO()
    printer = Printer(stream, form=form, top=1, with_times=True, events=True, highest_hz=11_025.0)
    for event in events:
        printer.add(event)
    printer.end()
    return stream.getvalue()


EVENTS = [Event("a.wav", 0.0, 1.25, LABELS[0], 0.75), Event("a.wav", 3600.000001, 3602.5, LABELS[1], 0.5)]
# What would end a field or a line is spelt out.
NAMES = ["Bark", "Gong\\t\\\\nHi-hat"]


def test_audacity_reads_what_was_written() -> None:
    """Audacity's manual, "Importing and Exporting Labels": a line a label, start, end and text, tab between them."""
    lines = printed("audacity", EVENTS)
    assert lines == f"0.000000\t1.250000\t{NAMES[0]}\n3600.000001\t3602.500000\t{NAMES[1]}\n"


def test_raven_reads_what_was_written() -> None:
    """As the tables that Raven Pro saves: tabs, a line of heads with the seven of a selection, one line a selection."""
    head, *lines = printed("raven", EVENTS).splitlines()
    assert tuple(head.split("\t")) == RAVEN_HEADS
    for number, (line, event, name) in enumerate(zip(lines, EVENTS, NAMES, strict=True), start=1):
        selection, view, channel, *numbers, label, probability, _ = line.split("\t")
        assert (selection, view, channel, label) == (str(number), "Spectrogram 1", "1", name)
        found = [float(value) for value in (*numbers, probability)]
        assert found == [event.start_s, event.end_s, 0.0, 11_025.0, event.probability]
