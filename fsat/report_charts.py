"""Charts of the report as SVG text: fluid ones for the page, framed ones with their own style as files.

A fluid chart is as wide as its place and has a fixed height: texts sit at percentages and keep their size, curves are
stretched in an inner ``svg`` without their lines getting thicker.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

# Colours by role; the page's style sheet defines the same names, a file brings them along.
LIGHT = {
    "paper": "#fcfcfa",
    "ink": "#1c1f24",
    "muted": "#636b75",
    "rule": "#e4e4df",
    "stage1": "#b9770e",
    "stage2": "#1a5fa8",
    "anchor": "#858c95",
    "wrong": "#cc4125",
}
DARK = {
    "paper": "#15181c",
    "ink": "#e8e6e1",
    "muted": "#9aa2ac",
    "rule": "#2d3239",
    "stage1": "#e0a443",
    "stage2": "#6fb0f5",
    "anchor": "#8c949e",
    "wrong": "#f27a5e",
}


@dataclass(frozen=True)
class Curve:
    """One line: its values may have gaps (NaN), over which the line goes on.

    Attributes
    ----------
    x, y : np.ndarray [shape=(n,)]
    kind : str
        CSS classes, e.g. ``"stage1 validation"``.
    name : str
        Found in ``data-name``, for whoever points at it.
    """

    x: np.ndarray
    y: np.ndarray
    kind: str
    name: str = ""


@dataclass(frozen=True)
class Plot:
    """Curves over common axes.

    Attributes
    ----------
    curves : sequence of Curve
    x_range, y_range : (float, float)
    height : int
        Pixels.
    y_ticks, x_ticks : sequence of float
    log_y : bool
    marks : sequence of (x, y, kind)
        Dots.
    lines : sequence of (x, text)
        Vertical lines with a text above.
    percent : bool
        Write the y ticks in percent.
    """

    curves: Sequence[Curve]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    height: int = 220
    y_ticks: Sequence[float] = ()
    x_ticks: Sequence[float] = ()
    log_y: bool = False
    marks: Sequence[tuple[float, float, str]] = ()
    lines: Sequence[tuple[float, str]] = ()
    percent: bool = False


def plot(chart: Plot) -> Markup:
    """Inner elements of a fluid chart; put them into an ``svg`` with ``overflow: visible`` and room at the left."""
    parts = []
    for tick in chart.y_ticks:
        y = _y(chart, tick)
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="-8" y="{y + 4:.1f}" text-anchor="end">{_label(chart, tick)}</text>')
    for tick in chart.x_ticks:
        below = f'x="{_x(chart, tick):.2f}%" y="{chart.height + 18}" text-anchor="middle"'
        parts.append(f'<text class="tick" {below}>{tick:g}</text>')
    for x, text in chart.lines:
        at = _x(chart, x)
        parts.append(f'<line class="phase" x1="{at:.2f}%" x2="{at:.2f}%" y1="-4" y2="{chart.height}"/>')
        if text:
            parts.append(f'<text class="tick" x="{at:.2f}%" y="-9" dx="-3">{escape(text)}</text>')
    parts.append(
        f'<svg width="100%" height="{chart.height}" viewBox="0 0 1000 {chart.height}" preserveAspectRatio="none" '
        'overflow="visible">'
    )
    parts += [_path(chart, curve) for curve in chart.curves]
    parts.append("</svg>")
    for x, y, kind in chart.marks:
        parts.append(f'<circle class="mark {escape(kind)}" cx="{_x(chart, x):.2f}%" cy="{_y(chart, y):.1f}" r="3.5"/>')
    return Markup("".join(parts))  # noqa: S704 - every text in it went through escape


def _path(chart: Plot, curve: Curve) -> str:
    is_there = np.isfinite(curve.y)
    points = [
        f"{_x(chart, x) * 10:.0f} {_y(chart, y):.1f}" for x, y in zip(curve.x[is_there], curve.y[is_there], strict=True)
    ]
    if not points:
        return ""
    # A single point becomes a line of no length, which round ends make a dot.
    shape = "M" + "L".join(points if len(points) > 1 else points * 2)
    return (
        f'<path class="curve {escape(curve.kind)}" data-name="{escape(curve.name)}" '
        f'vector-effect="non-scaling-stroke" d="{shape}"/>'
    )


def _x(chart: Plot, value: float) -> float:
    """Position in percent."""
    low, high = chart.x_range
    return 100 * (value - low) / (high - low) if high > low else 50.0


def _y(chart: Plot, value: float) -> float:
    low, high = chart.y_range
    if chart.log_y:
        low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
    return chart.height * (1 - (value - low) / (high - low))


def _label(chart: Plot, tick: float) -> str:
    if chart.percent:
        return f"{100 * tick:g}%"
    return f"1e{round(math.log10(tick))}" if chart.log_y else f"{tick:g}"


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about `count` of them.

    >>> ticks(0.0, 3.7)
    [0.0, 1.0, 2.0, 3.0, 4.0]
    >>> ticks(0.62, 0.97)
    [0.6, 0.7, 0.8, 0.9, 1.0]
    """
    span = max(high - low, 1e-9)
    raw = span / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.85)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def integer_ticks(low: int, high: int) -> list[float]:
    """`low`, `high` and round numbers between them that do not crowd either.

    >>> integer_ticks(1, 28)
    [1, 10, 20, 28]
    """
    step = next((s for s in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000) if (high - low) / s <= 5), 2000)
    between = [value for value in range(step, high, step) if value - low >= step / 2 and high - value >= step / 2]
    return sorted({low, *between, high})


def bars(
    groups: Sequence[tuple[str, Sequence[float]]], labels: Sequence[str], *, height: int = 160, label_every: int = 1
) -> Markup:
    """Columns of a histogram, several groups stacked; inner elements of a fluid chart.

    Parameters
    ----------
    groups : sequence of (CSS class, counts)
    labels
        Edges of the columns: one more than there are counts.
    """
    n = len(labels) - 1
    totals = np.sum([counts for _, counts in groups], axis=0)
    scale = ticks(0, float(max(totals.max(), 1)), count=4)
    parts = []
    for tick in scale:
        y = height * (1 - tick / scale[-1])
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="-8" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    base = np.zeros(n)
    for kind, counts in groups:
        for column, count in enumerate(counts):
            if count > 0:
                top = height * (1 - (base[column] + count) / scale[-1])
                parts.append(
                    f'<rect class="bar {escape(kind)}" x="{100 * (column + 0.06) / n:.2f}%" width="{88 / n:.2f}%" '
                    f'y="{top:.1f}" height="{height * count / scale[-1]:.1f}"/>'
                )
        base += np.asarray(counts)
    for edge in range(0, n + 1, label_every):
        parts.append(
            f'<text class="tick" x="{100 * edge / n:.2f}%" y="{height + 18}" text-anchor="middle">'
            f"{escape(labels[edge])}</text>"
        )
    return Markup("".join(parts))  # noqa: S704 - every text in it went through escape


# --- confusion matrix ------------------------------------------------------------------------------------------------


def matrix(counts: np.ndarray, labels: Sequence[str], *, interactive: bool = True) -> tuple[Markup, int, int]:
    """A confusion matrix: rows the given label, columns the predicted one, colour the share of the row.

    Returns
    -------
    elements : Markup
    width, height : int
        Of the view box.
    """
    n = len(labels)
    cell = 15 if n > 24 else min(44, max(15, 400 // max(n, 1)))
    left = int(10 + 7.0 * min(max((len(label) for label in labels), default=1), 28))
    top = int(left * 0.8) + 6
    right = int(left * 0.62)
    totals = counts.sum(axis=1)
    parts = [f'<rect class="field" x="{left}" y="{top}" width="{n * cell}" height="{n * cell}"/>']
    for row, label in enumerate(labels):
        middle = top + (row + 0.5) * cell
        if row % 5 == 0 and row:
            parts.append(
                f'<path class="grid" d="M{left} {top + row * cell}h{n * cell}M{left + row * cell} {top}v{n * cell}"/>'
            )
        text = escape(label if len(label) <= 28 else label[:27] + "…")
        x = left + (row + 0.5) * cell + 4
        parts.append(f'<text class="name" data-row="{row}" x="{left - 6}" y="{middle + 4:.1f}">{text}</text>')
        parts.append(
            f'<text class="name column" data-column="{row}" transform="translate({x:.1f} {top - 6}) rotate(-52)">'
            f"{text}</text>"
        )
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = counts[row, column] / totals[row]
        # A floor under the opacity: one clip of many must still be seen.
        look = f'fill-opacity="{0.18 + 0.82 * share:.2f}" class="cell {"right" if row == column else "wrong"}"'
        count = int(counts[row, column])
        words = f"{count} of {totals[row]} {labels[row]} clips tagged {labels[column]}"
        where = f'x="{left + column * cell + 1}" y="{top + row * cell + 1}" width="{cell - 2}" height="{cell - 2}"'
        if interactive:
            role = f'role="button" tabindex="-1" data-row="{row}" data-column="{column}" aria-label="{escape(words)}"'
            parts.append(f"<rect {where} {look} {role}/>")
        else:
            parts.append(f"<rect {where} {look}><title>{escape(words)}</title></rect>")
        if cell >= 22:
            where = f'x="{left + (column + 0.5) * cell:.1f}" y="{top + (row + 0.5) * cell + 4:.1f}"'
            parts.append(f'<text class="count{" on" if share > 0.5 else ""}" {where}>{count}</text>')
    # escape() above; numbers otherwise
    return Markup("".join(parts)), left + n * cell + right, top + n * cell + 8  # noqa: S704


# --- charts as files -------------------------------------------------------------------------------------------------

_STYLE = """
text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--ink)}
.title{font-size:16px;font-weight:600}.note,.tick{fill:var(--muted)}.tick{font-size:11px}
.paper{fill:var(--paper)}.grid{stroke:var(--rule);fill:none}.phase{stroke:var(--muted);stroke-dasharray:2 3}
.curve{fill:none;stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
.curve.training{stroke-width:1;opacity:.4}
.stage1{stroke:var(--stage1)}.stage2{stroke:var(--stage2)}.anchor{stroke:var(--anchor)}
.mark{stroke:var(--paper);stroke-width:1.5}.mark.stage1{fill:var(--stage1)}.mark.stage2{fill:var(--stage2)}
.field{fill:none;stroke:var(--rule)}.cell.right{fill:var(--stage2)}.cell.wrong{fill:var(--wrong)}
.name{font-size:12px;text-anchor:end}.name.column{text-anchor:start}.count{text-anchor:middle}.count.on{fill:var(--paper)}
"""


def document(elements: Markup, *, width: int, height: int, title: str, note: str = "") -> str:
    """A whole SVG file with its own colours, light or dark as the reader's system is."""

    def colours(scheme: dict[str, str]) -> str:
        return "svg{" + "".join(f"--{name}:{value};" for name, value in scheme.items()) + "}"

    style = f"{colours(LIGHT)}{_STYLE}@media(prefers-color-scheme:dark){{{colours(DARK)}}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{escape(title)}</title><style>{style}</style>'
        f'<rect class="paper" width="{width}" height="{height}"/>'
        f'<text class="title" x="24" y="32">{escape(title)}</text>'
        f'<text class="note" x="24" y="52">{escape(note)}</text>{elements}</svg>\n'
    )


def placed(elements: Markup, *, x: int, y: int, width: int, height: int) -> Markup:
    """Elements of a fluid chart at a place of a document."""
    # Numbers around markup
    return Markup(f'<svg x="{x}" y="{y}" width="{width}" height="{height}" overflow="visible">{elements}</svg>')  # noqa: S704


def text(words: str, *, x: float, y: float, kind: str = "") -> Markup:
    """A text at a place of a document."""
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(kind, f"{x:g}", f"{y:g}", words)


def dots(rows: Sequence[tuple[str, int, float | None, float | None]], *, width: int = 760) -> tuple[Markup, int]:
    """A row a class: name, support, and a dot for each stage on a scale from 0 to 1; returns elements and height.

    Parameters
    ----------
    rows : sequence of (label, support, stage 1, stage 2)
        A score is None where the class has no clip.
    """
    left, right, step, top = 210, width - 90, 17, 100
    parts: list[str] = []
    bottom = top + step * len(rows)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = left + tick * (right - left)
        parts.append(f'<path class="grid" d="M{x:g} {top - 8}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:g}" y="{top - 14}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="tick" x="{width - 24}" y="{top - 14}" text-anchor="end">clips</text>')
    for number, (label, n, *scores) in enumerate(rows):
        y = top + step * (number + 0.5)
        shown = escape(label if len(label) <= 28 else label[:27] + "…")
        parts.append(f'<text class="name" x="{left - 12}" y="{y + 4:g}">{shown}</text>')
        parts.append(f'<text class="tick" x="{width - 24}" y="{y + 4:g}" text-anchor="end">{n}</text>')
        xs = [left + score * (right - left) for score in scores if score is not None]
        if len(xs) == 2:
            parts.append(f'<path class="grid" d="M{xs[0]:.1f} {y:g}H{xs[1]:.1f}" stroke-width="3"/>')
            parts.append(f'<circle class="mark stage1" cx="{xs[0]:.1f}" cy="{y:g}" r="5"/>')
            parts.append(f'<circle class="mark stage2" cx="{xs[1]:.1f}" cy="{y:g}" r="5"/>')
    return Markup("".join(parts)), bottom + 20  # noqa: S704 - every text in it went through escape
