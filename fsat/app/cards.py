"""Results as HTML. Names of files and labels come from strangers: all text goes through `html.escape`."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from fsat.app.sounds import Sound
from fsat.core.errors import one_line
from fsat.tagger.events import Event
from fsat.tagger.results import Failed, Tagged

MAX_DRAWN, MAX_LISTED = 300, 1_000  # more would make the page slow; `fsat tag --events` writes all of them
_LANES = 5  # rows of event names on a spectrogram, one a label, before they begin again at the top
_COLOURS = ("#ffd166", "#7bdff2", "#b8f2a5", "#ffadc6", "#d0bdf4")
_TICKS = 4


def results(found: Sequence[Sound | Failed], *, top: int, n_waiting: int = 0) -> str:
    """Cards of all files, in order, and how many are still to come."""
    cards = [failed_card(result) if isinstance(result, Failed) else card(result, top=top) for result in found]
    if n_waiting:
        cards.append(f'<p class="fsat-waiting">{n_waiting} to come</p>')
    return f'<div class="fsat-results">{"".join(cards)}</div>'


def message(text: str) -> str:
    """One clear line instead of results."""
    return f'<div class="fsat-results"><p class="fsat-problem" role="alert">{escaped(text)}</p></div>'


def failed_card(failed: Failed) -> str:
    """One line: the file and why it could not be tagged."""
    name = escaped(Path(failed.path).name)
    return f'<p class="fsat-problem" role="alert"><b>{name}</b>: {escaped(failed.reason)}</p>'


def card(sound: Sound, *, top: int) -> str:
    """One file: labels with bars, spectrogram with events, player, list of events."""
    whole = sound.whole
    return (
        '<article class="fsat-card">'
        f"<h3>{escaped(Path(whole.path).name)}</h3><p class='fsat-facts'>{clock(whole.end_s)}</p>"
        f"{_unknown(whole)}{_bars(whole, top)}{_figure(sound)}"
        f'<audio controls preload="metadata" src="gradio_api/file={quote(str(sound.player))}"></audio>'
        f"{_list(sound.events)}</article>"
    )


def clock(seconds: float) -> str:
    """Time in a recording.

    >>> clock(2.345), clock(75), clock(3725.5)
    ('2.35 s', '1:15', '1:02:06')
    """
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def escaped(text: str) -> str:
    """Text on one line as HTML shows it, whatever is in it."""
    return escape(one_line(text))


def _unknown(whole: Tagged) -> str:
    """The mark of a sound that is unlike all training clips; nothing where the bundle cannot say."""
    return f'<p class="fsat-unknown">none of these (score {whole.unknown_score:.2f})</p>' if whole.unknown else ""


def _bars(whole: Tagged, top: int) -> str:
    rows = [
        f"<li><span class='fsat-name'>{escaped(label)}</span>"
        f"<span class='fsat-bar'><i style='width:{100 * min(p, 1):.1f}%'></i></span>"
        f"<span class='fsat-p'>{p:.0%}</span></li>"
        for label, p in whole.top(top)
    ]
    return f"<ol class='fsat-labels'>{''.join(rows)}</ol>"


def _figure(sound: Sound) -> str:
    """Spectrogram with the most probable events on it: one colour and row a label, in order of appearance."""
    seconds = sound.whole.end_s
    labels = list(dict.fromkeys(event.label for event in sound.events))
    shown = sorted(sound.events, key=lambda event: -event.probability)[:MAX_DRAWN]
    boxes = "".join(_box(event, labels.index(event.label), seconds) for event in shown)
    ticks = "".join(f"<span>{clock(seconds * k / _TICKS)}</span>" for k in range(_TICKS + 1))
    heard = ", ".join(labels) or "no event"
    return (
        f'<div class="fsat-figure" tabindex="0" role="img" aria-label="Spectrogram; {escaped(heard)}">'
        f'<img src="{sound.image}" alt="">{boxes}<i class="fsat-cursor"></i></div><div class="fsat-ticks">{ticks}</div>'
    )


def _box(event: Event, row: int, seconds: float) -> str:
    left, width = 100 * event.start_s / seconds, 100 * (event.end_s - event.start_s) / seconds
    style = f"left:{left:.3f}%;width:{width:.3f}%;--row:{row % _LANES};--colour:{_COLOURS[row % len(_COLOURS)]}"
    words = f"{escaped(event.label)} {event.probability:.0%}"
    title = f"{words}, {clock(event.start_s)} to {clock(event.end_s)}"
    return f'<span class="fsat-event" style="{style}" title="{title}"><b>{words}</b></span>'


def _list(events: Sequence[Event]) -> str:
    if not events:
        return "<p class='fsat-facts'>No window has a label above the threshold.</p>"
    rows = "".join(
        f"<tr><td>{clock(event.start_s)}</td><td>{clock(event.end_s)}</td>"
        f"<td>{escaped(event.label)}</td><td>{event.probability:.0%}</td></tr>"
        for event in events[:MAX_LISTED]
    )
    more = f"<p>The first {MAX_LISTED}; <code>fsat tag --events</code> writes all.</p>"
    count = f"{len(events)} event{'' if len(events) == 1 else 's'}"
    heads = "<tr><th>start</th><th>end</th><th>label</th><th>mean probability</th></tr>"
    table = f"<table><thead>{heads}</thead><tbody>{rows}</tbody></table>{more if len(events) > MAX_LISTED else ''}"
    return f"<details><summary>{count}</summary>{table}</details>"
