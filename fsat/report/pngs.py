"""Figures of a run as PNG files, for GitHub and slides; drawn by Matplotlib with its own font."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fsat.report import figures
from fsat.scoring import outcomes
from fsat.scoring.names import STAGES, SUBMISSION

# The colours of the page in its light dress (templates/report.css).
_PAPER, _INK, _MUTED, _RULE = "#fcfcfa", "#1c1f24", "#636b75", "#e4e4df"
_COLOURS = {"stage1": "#b9770e", "stage2": "#1a5fa8"}
_WRONG = "#cc4125"
_LONGEST_NAME = 28
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,  # names of a dataset are no formulas
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.facecolor": _PAPER,
    "axes.labelcolor": _MUTED,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": _PAPER,
    "grid.color": _RULE,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "lines.linewidth": 1.3,
}


def learning_curves(histories: Mapping[int, pd.DataFrame], *, select: str, caution: str) -> bytes:
    """Loss and MAP@3 of both stages by epoch.

    Parameters
    ----------
    histories
        As `run.Run.histories`.
    select : {"best", "last"}
        Which epoch's weights were handed on.
    caution
        Said below, as in the other figures.

    Returns
    -------
    bytes
        A PNG file.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 6), layout="constrained")
        grid = figure.subplots(2, 2, sharex="col", sharey="row")
        for row, metric in enumerate(("loss", "map3")):
            for column, stage in enumerate(STAGES):
                _draw_curves(grid[row, column], histories, stage, metric, select=select)
                name = figures.METRIC_NAMES[metric]
                grid[row, column].set_title(f"Stage {column + 1}: {name}", pad=16 if row == 0 else 6)
        for axes in grid[1]:
            axes.set_xlabel("epoch")
        note = "Solid: each held-out fold. Dashed: training with mixup, mean of the folds. Dot: the weights handed on."
        return _png(figure, "Learning curves by epoch", f"{note} {caution}")


def _draw_curves(axes: Axes, histories: Mapping[int, pd.DataFrame], stage: str, metric: str, *, select: str) -> None:
    validation, training = figures.METRICS[metric]
    top = figures.top(histories, metric)
    colour = _COLOURS[stage]
    folds = list(figures.of_stage(histories, stage))
    for _, rows in folds:
        seen = rows[rows[validation].notna()]
        # A loss far off the scale is drawn at its edge; a single epoch is a dot.
        marker = "." if len(seen) == 1 else ""
        axes.plot(seen["epoch"], seen[validation].clip(upper=top), color=colour, marker=marker)
        chosen = outcomes.selected_epochs(rows, select=select)[stage]
        at = rows[rows["epoch"] == chosen]
        axes.plot(at["epoch"], at[validation].clip(upper=top), "o", color=colour, markeredgecolor=_PAPER)
    if training and folds:
        mean = pd.concat([rows for _, rows in folds]).groupby("epoch")[training].mean().clip(upper=top)
        axes.plot(mean.index, mean, color=colour, alpha=0.6, linestyle=(0, (4, 2)))
    axes.set_ylim(0, top * 1.03)
    axes.grid(axis="y")
    for epoch, phase in figures.phase_starts(histories, stage):
        axes.axvline(epoch, color=_MUTED, linewidth=0.7, linestyle=":")
        if phase and metric == "loss":
            axes.text(epoch, 1.02, phase, transform=axes.get_xaxis_transform(), fontsize=8, color=_MUTED)


def confusion(counts: np.ndarray, labels: Sequence[str], clips: str, *, caution: str) -> bytes:
    """Confusion matrix, the share of each row in colour; parameters as of `outcomes.confusion`.

    `clips` says which clips these are. Returns a PNG file.
    """
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_right = np.eye(len(labels), dtype=bool)
    with mpl.rc_context(_STYLE):
        size = 3.5 + 0.2 * max(len(labels), 10)
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.add_subplot()
        for colour, mask in ((_COLOURS["stage2"], is_right), (_WRONG, ~is_right)):
            shades = LinearSegmentedColormap.from_list("shades", [_PAPER, colour])
            # A floor under the colour: one clip of many must still be seen.
            shares = np.where(mask & (counts > 0), 0.18 + 0.82 * counts / totals, np.nan)
            axes.imshow(shares, cmap=shades, vmin=0, vmax=1)
        names = [_short(label) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=90)
        axes.set_yticks(range(len(labels)), names)
        axes.tick_params(length=0, labelcolor=_INK, labelsize=8)
        axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        axes.grid(which="minor", linewidth=0.5)
        axes.tick_params(which="minor", length=0)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("given label")
        return _png(figure, f"Confusion, submission, {clips.lower()}", f"Colour: share of the row. {caution}")


def per_class(rows: Sequence[Mapping[str, Any]], clips: str, *, caution: str) -> bytes:
    """AP@3 of each class, of stage 1 and the submission, best first.

    Parameters
    ----------
    rows
        As `scores.class_rows` gives them.
    clips
        Which clips these are.
    caution
        Said below.

    Returns
    -------
    bytes
        A PNG file.
    """
    ordered = sorted(
        (row for row in rows if row[SUBMISSION] is not None), key=lambda row: (-row[SUBMISSION], row["label"])
    )
    names = [f"{_short(row['label'])}  ({row['n']})" for row in ordered]
    places = np.arange(len(ordered))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 1.8 + 0.19 * max(len(ordered), 5)), layout="constrained")
        axes = figure.add_subplot()
        scores = {model: [row[model] for row in ordered] for model in ("stage1", SUBMISSION)}
        axes.hlines(places, scores["stage1"], scores[SUBMISSION], color=_RULE, linewidth=2.5)
        # The larger dot below: both are seen where the scores are equal.
        for model, colour, size, name in (("stage1", "stage1", 9, "stage 1"), (SUBMISSION, "stage2", 6, SUBMISSION)):
            axes.plot(
                *(scores[model], places, "o"),
                color=_COLOURS[colour],
                markersize=size,
                markeredgecolor=_PAPER,
                label=name,
                clip_on=False,
            )
        axes.set_yticks(places, names)
        axes.set_ylim(max(len(ordered), 1) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.tick_params(length=0)
        axes.tick_params(axis="y", labelcolor=_INK)
        axes.grid(axis="x")
        axes.set_xlabel("AP@3")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
        return _png(figure, f"AP@3 per class (number of clips), {clips.lower()}", caution)


def reliability(table: pd.DataFrame, error: Sequence[float], *, caution: str) -> bytes:
    """Accuracy by confidence, before and after calibration, and below it how many clips there are.

    Parameters
    ----------
    table : pd.DataFrame
        `metrics/reliability.csv`.
    error : (float, float)
        Expected calibration error before and after.
    caution
        Said below.

    Returns
    -------
    bytes
        A PNG file.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.5, 6.5), layout="constrained")
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot((0, 1), (0, 1), color=_MUTED, linewidth=0.8, linestyle=":", label="accuracy = confidence")
        width = 0.4 / len(table)
        for name, value, place, colour in zip(("before", "after"), error, (-0.5, 0.5), _COLOURS.values(), strict=True):
            seen = table[table[name].notna()]
            axes.plot(seen["confidence"], seen[name], "o-", markersize=4, color=colour,
                      label=f"{name} (expected error {value:.3f})")  # fmt: skip
            counts.bar(table["confidence"] + place * width, table[f"n_{name}"], width=width, color=colour)
        axes.set_ylabel("accuracy")
        axes.set_ylim(0, 1.03)
        axes.set_xlim(0, 1)
        axes.legend(frameon=False)
        counts.set_ylabel("clips")
        counts.set_xlabel("confidence: probability of the first label")
        for part in (axes, counts):
            part.grid(axis="y")
            part.set_axisbelow(True)
        return _png(figure, "Reliability of the submission, held-out clips", f"After: out of fold. {caution}")


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_NAME else label[: _LONGEST_NAME - 1] + "…"


def _png(figure: Figure, title: str, note: str) -> bytes:
    """The figure with its title above and its note below, both also as the file's metadata."""
    note = note.strip()
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8.5, color=_MUTED)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in a script that the font lacks
        figure.savefig(stream, format="png", dpi=120, metadata={"Software": None, "Title": title, "Description": note})
    return stream.getvalue()
