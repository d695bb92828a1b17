"""Charts of the report as inline SVG; the page's style sheet gives the colours.

A fluid chart is as wide as its place and has a fixed height: texts sit at percentages and keep their size, curves are
stretched in an inner ``svg`` without their lines getting thicker.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape


@dataclass(frozen=True)
class Curve:
    """One line through points x, y (n,), whose values may have gaps (NaN), over which the line goes on."""

    x: np.ndarray
    y: np.ndarray
    kind: str  # CSS classes, e.g. "stage1 validation"
    name: str = ""  # written to `data-name`, which the tooltip shows


@dataclass(frozen=True)
class Plot:
    """Curves over common axes."""

    curves: Sequence[Curve]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    height: int = 220  # pixels
    y_ticks: Sequence[float] = ()
    x_ticks: Sequence[float] = ()
    log_y: bool = False
    marks: Sequence[tuple[float, float, str]] = ()  # dots: x, y, kind
    lines: Sequence[tuple[float, str]] = ()  # vertical ones: x, text above
    percent: bool = False  # y ticks


_NARROW = 14  # percent of a chart's width that the name of a phase can take on a phone
BARS_HEIGHT = 160  # pixels


def plot(chart: Plot) -> Markup:
    """Inner elements of a fluid chart; put them into an ``svg`` with ``overflow: visible`` and room at the left."""
    parts = [_grid(_y(chart, tick), _label(chart, tick)) for tick in chart.y_ticks]
    for tick in chart.x_ticks:
        below = f'x="{_x(chart, tick):.2f}%" y="{chart.height + 18}" text-anchor="middle"'
        parts.append(f'<text class="tick" {below}>{tick:g}</text>')
    named = [_x(chart, x) for x, text in chart.lines if text]
    for x, text in chart.lines:
        at = _x(chart, x)
        parts.append(f'<line class="phase" x1="{at:.2f}%" x2="{at:.2f}%" y1="-4" y2="{chart.height}"/>')
        if text:
            # On a narrow screen two names that start close together would overlap: the first one ends at its line.
            side = 'dx="3" text-anchor="end"' if any(0 < other - at < _NARROW for other in named) else 'dx="-3"'
            parts.append(f'<text class="tick" x="{at:.2f}%" y="-9" {side}>{escape(text)}</text>')
    size = f'width="100%" height="{chart.height}" viewBox="0 0 1000 {chart.height}"'
    parts.append(f'<svg {size} preserveAspectRatio="none" overflow="visible">')
    parts += [*(_path(chart, curve) for curve in chart.curves), "</svg>"]
    for x, y, kind in chart.marks:
        parts.append(f'<circle class="mark {escape(kind)}" cx="{_x(chart, x):.2f}%" cy="{_y(chart, y):.1f}" r="3.5"/>')
    return Markup("".join(parts))  # noqa: S704 - every text in it went through escape


def _grid(y: float, label: str) -> str:
    """A horizontal line with its label at the left."""
    line = f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text class="tick" x="-8" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _path(chart: Plot, curve: Curve) -> str:
    there = zip(curve.x, curve.y, np.isfinite(curve.y), strict=True)
    points = [f"{_x(chart, x) * 10:.0f} {_y(chart, y):.1f}" for x, y, is_there in there if is_there]
    if not points:
        return ""
    # A single point becomes a line of no length, which round ends make a dot.
    shape = "M" + "L".join(points if len(points) > 1 else points * 2)
    names = f'class="curve {escape(curve.kind)}" data-name="{escape(curve.name)}"'
    return f'<path {names} vector-effect="non-scaling-stroke" d="{shape}"/>'


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


def bars(groups: Sequence[tuple[str, Sequence[float]]], labels: Sequence[str]) -> Markup:
    """Columns of a histogram, several groups (CSS class, counts) stacked; inner elements of a fluid chart.

    `labels` are those of the columns' edges: one more than there are counts. Every fourth is shown.
    """
    n, height = len(labels) - 1, BARS_HEIGHT
    totals = np.sum([counts for _, counts in groups], axis=0)
    scale = ticks(0, float(max(totals.max(), 1)), count=4)
    parts = [_grid(height * (1 - tick / scale[-1]), f"{tick:g}") for tick in scale]
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
    for edge in range(0, n + 1, 4):
        below = f'x="{100 * edge / n:.2f}%" y="{height + 18}" text-anchor="middle"'
        parts.append(f'<text class="tick" {below}>{escape(labels[edge])}</text>')
    return Markup("".join(parts))  # noqa: S704 - every text in it went through escape


def matrix(counts: np.ndarray, labels: Sequence[str]) -> tuple[Markup, int, int]:
    """A confusion matrix: rows the given label, columns the predicted one, colour the share of the row.

    Returns its elements, and width and height of the view box.
    """
    n = len(labels)
    cell = 15 if n > 24 else min(44, 400 // n)
    left = int(10 + 7.0 * min(max(map(len, labels)), 28))
    top, right = int(left * 0.8) + 6, int(left * 0.62)
    totals = counts.sum(axis=1)
    parts = [f'<rect class="field" x="{left}" y="{top}" width="{n * cell}" height="{n * cell}"/>']
    for row, label in enumerate(labels):
        middle = top + (row + 0.5) * cell
        if row % 5 == 0 and row:
            across, down = f"M{left} {top + row * cell}h{n * cell}", f"M{left + row * cell} {top}v{n * cell}"
            parts.append(f'<path class="grid" d="{across}{down}"/>')
        text = escape(label if len(label) <= 28 else label[:27] + "…")
        x = left + (row + 0.5) * cell + 4
        parts.append(f'<text class="name" data-row="{row}" x="{left - 6}" y="{middle + 4:.1f}">{text}</text>')
        turned = f'transform="translate({x:.1f} {top - 6}) rotate(-52)"'
        parts.append(f'<text class="name column" data-column="{row}" {turned}>{text}</text>')
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = counts[row, column] / totals[row]
        # A floor under the opacity: one clip of many must still be seen.
        look = f'fill-opacity="{0.18 + 0.82 * share:.2f}" class="cell {"right" if row == column else "wrong"}"'
        count = int(counts[row, column])
        words = f"{count} of {totals[row]} {labels[row]} clips tagged {labels[column]}"
        where = f'x="{left + column * cell + 1}" y="{top + row * cell + 1}" width="{cell - 2}" height="{cell - 2}"'
        role = f'role="button" tabindex="-1" data-row="{row}" data-column="{column}" aria-label="{escape(words)}"'
        parts.append(f"<rect {where} {look} {role}/>")
        if cell >= 22:
            where = f'x="{left + (column + 0.5) * cell:.1f}" y="{top + (row + 0.5) * cell + 4:.1f}"'
            parts.append(f'<text class="count{" on" if share > 0.5 else ""}" {where}>{count}</text>')
    # escape() above; numbers otherwise
    return Markup("".join(parts)), left + n * cell + right, top + n * cell + 8  # noqa: S704
