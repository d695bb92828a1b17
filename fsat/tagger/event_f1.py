"""How well the events of tagged windows agree with annotations."""

from typing import TYPE_CHECKING, Any

from fsat.clips.annotations import BACKGROUND
from fsat.scoring import event_scores
from fsat.tagger.events import Threshold, file_events
from fsat.tagger.results import Tagged

if TYPE_CHECKING:
    import pandas as pd


def of_windows(windows: "pd.DataFrame", annotations: "pd.DataFrame", level: Threshold, hop_s: float) -> dict[str, Any]:
    """`event_scores.scores` of tagged recordings; empty without any.

    Parameters
    ----------
    windows : pd.DataFrame
        As in `data/windows.parquet`, of one split, in any order.
    annotations : pd.DataFrame
        path, label, start, end; those of recordings without windows do not count.
    """
    if windows.empty:
        return {}
    names = [str(column) for column in windows.columns[5:]]
    annotated: dict[str, dict[str, list[event_scores.Span]]] = {path: {} for path in windows["path"].unique()}
    for path, label, start, end in annotations[["path", "label", "start", "end"]].itertuples(index=False, name=None):
        if path in annotated:
            annotated[path].setdefault(label, []).append((start, end))
    found: dict[str, dict[str, list[event_scores.Span]]] = {path: {} for path in annotated}
    for path, rows in windows.sort_values("start_s", kind="stable").groupby("path"):
        tagged = (Tagged("", start, end, names, row, None) for start, end, row in
                  zip(rows["start_s"], rows["end_s"], rows[names].to_numpy(), strict=True))  # fmt: skip
        for event in file_events(tagged, level, hop_s=hop_s):
            found[str(path)].setdefault(event.label, []).append((event.start_s, event.end_s))
    return event_scores.scores(annotated, found, [name for name in names if name != BACKGROUND])
