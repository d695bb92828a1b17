"""Scores of events: by hand, and by the field's own program where it is installed."""

import numpy as np
import pytest

from fsat.scoring import event_scores

Table = dict[str, dict[str, list[event_scores.Span]]]


def drawn(seed: int) -> tuple[Table, Table]:
    """Annotations of two recordings, and events near them."""
    rng = np.random.default_rng(seed)
    annotated: Table = {path: {"Bark": [], "Rain": []} for path in ("a", "b")}
    found: Table = {path: {"Bark": [], "Rain": []} for path in ("a", "b")}
    for path in annotated:
        for label in ("Bark", "Rain"):
            for start in np.cumsum(rng.uniform(0.8, 4, 30)):
                length = rng.uniform(0.2, 3)
                annotated[path][label].append((round(start, 3), round(start + length, 3)))
                if rng.random() < 0.8:
                    moved = np.maximum(0, rng.normal([start, start + length], 0.5))
                    found[path][label].append((round(moved[0], 3), round(max(moved[1], moved[0] + 0.1), 3)))
    return annotated, found


def test_an_event_counts_by_its_onset_and_offset_and_once() -> None:
    annotated: Table = {"a": {"Bark": [(1.0, 2.0), (5.0, 9.0)]}}
    found: Table = {"a": {"Bark": [(1.4, 2.4), (1.2, 2.1), (5.5, 7.0)]}, "not annotated": {"Bark": [(0.0, 1.0)]}}
    got = event_scores.scores(annotated, found, ["Bark", "Rain"])
    assert got["event"] == {"all": 0.8, "labels": {"Bark": 0.8}}  # two of two annotated, two of three found
    # Annotated: seconds 1, 5, 6, 7, 8. Found: 1, 2, 5, 6.
    assert got["segment"]["all"] == round(2 * 3 / (5 + 4), 6)
    assert event_scores.scores({"a": {}}, {}, ["Bark"])["event"] == {"all": 0.0, "labels": {}}


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_sed_eval(seed: int) -> None:
    import dcase_util
    import sed_eval

    annotated, found = drawn(seed)
    labels = ["Bark", "Rain"]
    by_event = sed_eval.sound_event.EventBasedMetrics(labels, t_collar=0.5, percentage_of_length=0.5)
    by_segment = sed_eval.sound_event.SegmentBasedMetrics(labels, time_resolution=1.0)

    def rows(table: Table, path: str) -> object:
        return dcase_util.containers.MetaDataContainer(
            [
                {"filename": path, "event_label": label, "onset": start, "offset": end}
                for label, spans in table[path].items()
                for start, end in spans
            ]
        )

    for path in annotated:
        for metric in (by_event, by_segment):
            metric.evaluate(rows(annotated, path), rows(found, path))
    got = event_scores.scores(annotated, found, labels)
    for name, metric in (("event", by_event), ("segment", by_segment)):
        overall = metric.results_overall_metrics()["f_measure"]["f_measure"]
        each = {one: metric.results_class_wise_metrics()[one]["f_measure"]["f_measure"] for one in labels}
        assert got[name]["all"] == pytest.approx(overall, abs=1e-6)
        assert got[name]["labels"] == pytest.approx(each, abs=1e-6)
