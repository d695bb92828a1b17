"""The report's charts, each from the tables of a run, as inline SVG for the page."""

from typing import Any

import numpy as np
import pandas as pd

from fsat.report import charts
from fsat.report.run import Run
from fsat.scoring import outcomes

# Column of the validation curve, of the training curve if there is one.
METRICS = {"loss": ("val_loss", "loss"), "map3": ("val_map3", ""), "accuracy": ("val_accuracy", "")}
_PHASES = {"cyclic": "cyclic", "finetune_low": "low", "finetune_high": "high"}
_LOSS_QUANTILE, _LOSS_ROOM = 0.98, 1.25
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def learning_curves(run: Run) -> dict[str, dict[str, Any]]:
    """Charts by metric and stage (``["loss"]["stage1"]``), and by stage the ones of the learning rate."""
    found: dict[str, dict[str, Any]] = {
        metric: {stage: _fluid(_metric_plot(run, stage, metric)) for stage in run.networks} for metric in METRICS
    }
    found["rate"] = {stage: _fluid(_rate_plot(run, stage)) for stage in run.networks}
    return found


def _fluid(plot: charts.Plot) -> dict[str, Any]:
    return {"elements": charts.plot(plot), "height": plot.height, "epochs": int(plot.x_range[1])}


def _epochs(run: Run, stage: str) -> tuple[float, float]:
    return 1.0, float(max(2, *(len(rows) for _, rows in run.of_stage(stage))))


def _metric_plot(run: Run, stage: str, metric: str) -> charts.Plot:
    validation, training = METRICS[metric]
    scale = charts.ticks(0.0, top(run, metric))
    curves, marks = [], []
    for fold, rows in run.of_stage(stage):
        epoch = rows["epoch"].to_numpy(np.float64)
        for column, kind in ((training, "training"), (validation, "validation")):
            if column:
                # A loss far off the scale is drawn at its edge.
                values = np.minimum(rows[column].to_numpy(np.float64), scale[-1])
                curves.append(charts.Curve(epoch, values, f"{stage} {kind}", f"fold{fold}"))
        for name, chosen in outcomes.selected_epochs(rows, select=run.select).items():
            value = float(rows.loc[rows["epoch"] == chosen, validation].iloc[0])
            if np.isfinite(value):
                marks.append((float(chosen), min(value, scale[-1]), name))
    span = _epochs(run, stage)
    epochs, starts = charts.integer_ticks(1, int(span[1])), phase_starts(run, stage)
    return charts.Plot(curves, span, (scale[0], scale[-1]), 220, scale, epochs, marks=marks, lines=starts)


def top(run: Run, metric: str) -> float:
    """Upper end of the axis, the same for all stages: outliers do not flatten the rest."""
    if metric != "loss":
        return 1.0
    values = pd.concat([rows[["loss", "val_loss"]] for rows in run.histories.values()]).to_numpy(np.float64)
    values = values[np.isfinite(values)]
    return float(min(values.max(), _LOSS_ROOM * np.quantile(values, _LOSS_QUANTILE))) if len(values) else 1.0


def phase_starts(run: Run, stage: str) -> list[tuple[float, str]]:
    """First epoch of each phase, of every fold; the name stands at the earliest."""
    starts: dict[str, set[int]] = {}
    for _, rows in run.of_stage(stage):
        for phase, epochs in rows.groupby("phase", sort=False)["epoch"]:
            starts.setdefault(str(phase), set()).add(int(epochs.min()))
    return [
        (float(epoch), _PHASES.get(phase, phase) if epoch == min(epochs) else "")
        for phase, epochs in starts.items()
        for epoch in sorted(epochs)
    ]


def _rate_plot(run: Run, stage: str) -> charts.Plot:
    every = np.concatenate([rows["learning_rate"].to_numpy(np.float64) for rows in run.histories.values()])
    every = every[every > 0]
    low = 10.0 ** np.floor(np.log10(every.min())) if len(every) else 1e-6
    high = 10.0 ** max(np.ceil(np.log10(every.max())), np.log10(low) + 1) if len(every) else 1.0
    columns = ((fold, rows[["epoch", "learning_rate"]].to_numpy(np.float64).T) for fold, rows in run.of_stage(stage))
    curves = [charts.Curve(epoch, rate, "rate", f"fold{fold}") for fold, (epoch, rate) in columns]
    decades = [10.0**power for power in range(round(np.log10(low)), round(np.log10(high)) + 1)]
    shown = decades if len(decades) <= 3 else [decades[0], decades[-1]]
    return charts.Plot(curves, _epochs(run, stage), (low, high), 54, shown, log_y=True)


def curve_values(run: Run) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """Values by stage, fold and column, rounded, for the page's script; None in epochs without validation."""

    def column(rows: pd.DataFrame, name: str) -> list[float | None]:
        digits, values = 8 if name == "learning_rate" else 4, rows[name].to_numpy(np.float64).tolist()
        return [round(value, digits) if np.isfinite(value) else None for value in values]

    def columns(rows: pd.DataFrame) -> dict[str, list[float | None]]:
        names = ("loss", "val_loss", "val_map3", "val_accuracy", "learning_rate")
        return {name: column(rows, name) for name in names}

    return {stage: {str(fold): columns(rows) for fold, rows in run.of_stage(stage)} for stage in run.networks}


def reliability(table: pd.DataFrame) -> dict[str, Any]:
    """Chart of accuracy by confidence, before and after calibration; `table` is `metrics/reliability.csv`.

    Bins without clips have no point.
    """
    x = table["confidence"].to_numpy(np.float64)
    curves, marks = [charts.Curve(np.arange(2), np.arange(2), "rate", "ideal")], []
    for column, kind in (("before", "stage1"), ("after", "stage2")):
        y = table[column].to_numpy(np.float64)
        curves.append(charts.Curve(x, y, kind, column))
        marks += [(float(a), float(b), kind) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
    return _fluid(charts.Plot(curves, (0.0, 1.0), (0.0, 1.0), 260, _QUARTERS, _QUARTERS, marks=marks))


def thresholds(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Charts of precision and recall of each label over the threshold; `table` is `metrics/thresholds.csv`."""
    found = []
    for label, rows in table.groupby("label", sort=False):
        x = rows["threshold"].to_numpy(np.float64)
        pairs = (("precision", "stage1"), ("recall", "stage2"))
        curves = [charts.Curve(x, rows[column].to_numpy(np.float64), kind, column) for column, kind in pairs]
        plot = charts.Plot(curves, (0.0, 1.0), (0.0, 1.0), 60, (0.0, 1.0), (0.0, 0.5, 1.0))
        found.append({"label": str(label)} | _fluid(plot))
    return found


def variance(table: pd.DataFrame) -> dict[str, Any]:
    """Chart of the cumulative share of variance; `table` has the columns component and cumulative."""
    x, y = table["component"].to_numpy(np.float64), table["cumulative"].to_numpy(np.float64)
    n = max(len(x), 2)
    curves, last = [charts.Curve(x, y, "stage2")], (float(x[-1]), float(y[-1]), "stage2")
    plot = charts.Plot(
        curves, (1.0, n), (0.0, 1.0), 180, _QUARTERS, charts.integer_ticks(1, n), percent=True, marks=[last]
    )
    reached = {share: int(np.argmax(y >= share)) + 1 for share in (0.5, 0.9, 0.95, 0.99) if y[-1] >= share}
    return _fluid(plot) | {"reached": reached, "k": len(x), "total": float(y[-1])}


def durations(index: pd.DataFrame) -> dict[str, Any]:
    """Histogram of clip lengths, training and test clips stacked, on a scale that doubles every four columns."""
    seconds = {
        str(split): clips["seconds"].dropna().to_numpy(np.float64)
        for split, clips in index.groupby("split", sort=False)
    }
    every = np.concatenate(list(seconds.values()))
    every = every[every > 0]
    shortest, longest = (every.min(), every.max()) if len(every) else (1.0, 2.0)
    # The first column holds all that is shorter still.
    low = max(int(np.floor(np.log2(shortest) + 1e-9)), -2)
    high = max(int(np.ceil(np.log2(longest) - 1e-9)), low + 1)
    edges = 2.0 ** np.linspace(low, high, 4 * (high - low) + 1)
    inside = {split: np.clip(values, edges[0], edges[-1]) for split, values in seconds.items()}
    groups = [(split, np.histogram(values, edges)[0].tolist()) for split, values in inside.items()]
    labels = [f"{edge:.3g} s" for edge in edges]
    if shortest < edges[0]:
        labels[0] = "0"
    return {
        "elements": charts.bars(groups, labels),
        "height": charts.BARS_HEIGHT,
        "median": {split: float(np.median(values)) for split, values in seconds.items() if len(values)},
        "longest": float(longest),
        "shortest": float(shortest),
    }
