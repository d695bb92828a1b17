"""The learning curves as a PNG file, for GitHub; drawn by Matplotlib with its own font."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fsat.report import figures
from fsat.report.run import Run
from fsat.scoring import outcomes
from fsat.scoring.names import short

# The colours of the page in its light dress (templates/report.css).
_PAPER, _INK, _MUTED, _RULE = "#fcfcfa", "#1c1f24", "#636b75", "#e4e4df"
_COLOURS = {"stage1": "#b9770e", "stage2": "#1a5fa8"}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
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


def learning_curves(run: Run) -> bytes:
    """Loss and MAP@3 of the stages by epoch, as a PNG file; without a stage it says that no network was trained."""
    stages = run.networks
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 6), layout="constrained")
        grid = figure.subplots(2, len(stages), sharex=True, sharey="row", squeeze=False) if stages else np.empty((2, 0))
        for row, (metric, name) in enumerate((("loss", "Cross-entropy"), ("map3", "MAP@3"))):
            for column, stage in enumerate(stages):
                _draw_curves(grid[row, column], run, stage, metric)
                grid[row, column].set_title(f"{short(stage).capitalize()}: {name}", pad=16 if row == 0 else 6)
        for axes in grid[1]:
            axes.set_xlabel("epoch")
        note = "Solid: each held-out fold. Dashed: training with mixup, mean of the folds. Dot: the weights handed on."
        caution = "Synthetic demo data." if run.is_demo else ""
        title, note = "Learning curves by epoch", f"{note if stages else 'No network was trained.'} {caution}".strip()
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8.5, color=_MUTED)
        stream = io.BytesIO()
        # Without Matplotlib's version; the words are metadata as well.
        figure.savefig(stream, format="png", dpi=120, metadata={"Software": None, "Title": title, "Description": note})
        return stream.getvalue()


def _draw_curves(axes: Axes, run: Run, stage: str, metric: str) -> None:
    validation, training = figures.METRICS[metric]
    top, colour = figures.top(run, metric), _COLOURS[stage]
    folds = [rows for _, rows in run.of_stage(stage)]
    for rows in folds:
        seen = rows[rows[validation].notna()]
        # A loss far off the scale is drawn at its edge; a single epoch is a dot.
        marker = "." if len(seen) == 1 else ""
        axes.plot(seen["epoch"], seen[validation].clip(upper=top), color=colour, marker=marker)
        chosen = outcomes.selected_epochs(rows, select=run.select)[stage]
        at = rows[rows["epoch"] == chosen]
        axes.plot(at["epoch"], at[validation].clip(upper=top), "o", color=colour, markeredgecolor=_PAPER)
    if training:
        mean = pd.concat(folds).groupby("epoch")[training].mean().clip(upper=top)
        axes.plot(mean.index, mean, color=colour, alpha=0.6, linestyle=(0, (4, 2)))
    axes.set_ylim(0, top * 1.03)
    axes.grid(axis="y")
    for epoch, phase in figures.phase_starts(run, stage):
        axes.axvline(epoch, color=_MUTED, linewidth=0.7, linestyle=":")
        if phase and metric == "loss":
            axes.text(epoch, 1.02, phase, transform=axes.get_xaxis_transform(), fontsize=8, color=_MUTED)
