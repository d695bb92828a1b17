"""Temperatures on made-up logits whose right temperature is known, and the numbers of calibration by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fsat.scoring import calibration
from fsat.scoring.calibration import Scored


def drawn(n: int, *, temperature: float, seed: int = 0, n_classes: int = 5) -> Scored:
    """Clips whose labels are drawn from softmax(logits), and predictions softmax(logits * temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, n_classes))
    true = calibration.scale(np.exp(logits), 1.0001)
    labels = np.array([rng.choice(n_classes, p=row) for row in true / true.sum(axis=1, keepdims=True)])
    return Scored(calibration.scale(true, 1 / temperature), labels, np.arange(n) % 4)


NOTHING = Scored(np.zeros((0, 5)), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    scored = drawn(20_000, temperature=temperature)
    assert calibration.fit_temperature(scored.probabilities, scored.labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("n", [4, 16, 400])
def test_clips_that_are_all_right_make_as_certain_as_one_clip_more_allows(n: int) -> None:
    """One clip more, of which both labels are as likely: (n + 1/2) of n + 1 clips are right."""
    p = np.tile([[0.9, 0.1], [0.1, 0.9]], (n // 2, 1))
    found = calibration.scale(p, calibration.fit_temperature(p, np.arange(n) % 2))
    np.testing.assert_allclose(found.max(axis=1), (n + 0.5) / (n + 1), atol=1e-4)


def test_clips_that_are_all_wrong_stop_at_the_highest_temperature_and_none_change_nothing() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    for labels, temperature in (([1, 0], calibration.HIGHEST), ([-1, -1], 1.0)):
        assert calibration.fit_temperature(p, np.array(labels)) == pytest.approx(temperature, rel=1e-3)


def test_scaling_keeps_the_order_of_labels_and_sums_to_one() -> None:
    p = drawn(200, temperature=2.0).probabilities
    for temperature in (0.1, 0.7, 5.0):
        scaled = calibration.scale(p, temperature)
        assert scaled.sum(axis=1) == pytest.approx(1)
        assert (np.argsort(-scaled, axis=1, kind="stable") == np.argsort(-p, axis=1, kind="stable")).all()
    assert calibration.scale(p, 1.0) is p


def test_a_probability_of_zero_stays_a_number() -> None:
    scaled = calibration.scale(np.array([[1.0, 0.0]]), 3.0)
    assert np.isfinite(scaled).all() and scaled[0, 0] > 0.999
    assert np.isfinite(calibration.log_loss(np.array([[1.0, 0.0]]), np.array([1])))


def test_bins_are_closed_on_the_right_and_weighted_by_their_clips() -> None:
    confidence = np.array([0.2, 0.2, 0.4, 1.0])
    correct = np.array([True, False, False, True])
    bins, filled = calibration.reliability(confidence, correct), [2, 5, 14]
    assert bins["n"].sum() == 4 and bins["n"][filled].tolist() == [2, 1, 1]
    assert bins["accuracy"][filled].tolist() == [0.5, 0.0, 1.0] and np.isnan(bins["accuracy"][3])
    expected = (2 * 0.3 + 1 * 0.4 + 0) / 4
    assert calibration.calibration_error(confidence, correct) == pytest.approx(expected)


def test_a_fold_is_scaled_by_the_others_alone() -> None:
    """A single one is halved."""
    scored = drawn(400, temperature=3.0)
    first = scored.groups == 0
    labels = np.where(first, (scored.labels + 1) % 5, scored.labels)  # fold 0 says something else
    changed = calibration.cross_scaled(Scored(scored.probabilities, labels, scored.groups))
    plain = calibration.cross_scaled(scored)
    assert np.array_equal(changed[first], plain[first])
    assert not np.allclose(changed[~first], plain[~first])
    one, halves = (replace(scored, groups=np.arange(400) % n) for n in (1, 2))
    assert np.array_equal(calibration.cross_scaled(one), calibration.cross_scaled(halves))


def test_one_clip_alone_is_left_as_it_is() -> None:
    scored = Scored(np.array([[0.7, 0.3]]), np.array([0]), np.array([0]))
    assert np.array_equal(calibration.cross_scaled(scored), scored.probabilities)
    assert json.dumps(calibration.headline({"stage2": calibration.calibrate(scored, scored)}), allow_nan=False)


def test_the_metrics_show_a_gain_out_of_fold() -> None:
    heldout, test = drawn(4000, temperature=3.0), drawn(1000, temperature=2.5, seed=1)
    found = {stage: calibration.calibrate(heldout, test) for stage in ("stage1", "stage2")}
    metrics = calibration.headline(found)
    before, after = metrics["before_after"]["ece"]["cv"]["stage2"]
    assert after < before / 4 and metrics["ece"]["cv"]["stage2"] == after
    before, after = metrics["before_after"]["log_loss"]["test"]["stage1"]
    assert after < before
    assert metrics["temperature"]["stage1"] == pytest.approx(3.0, rel=0.1)
    curve = found["stage2"].curve
    assert curve["n_before"].sum() == curve["n_after"].sum() == 4000


def test_without_labelled_test_clips_there_is_no_test_part() -> None:
    metrics = calibration.headline({"stage2": calibration.calibrate(drawn(100, temperature=2.0), NOTHING)})
    assert list(metrics["ece"]) == ["cv"]
    assert np.isnan(calibration.calibration_error(NOTHING.probabilities[:, 0], NOTHING.correct))


def test_a_label_that_no_class_has_counts_as_a_mistake_and_not_in_the_loss() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1]])
    scored = Scored(p, np.array([0, -1]), np.array([0, 1]))
    assert scored.correct.tolist() == [True, False]
    assert calibration.log_loss(p, scored.labels) == pytest.approx(-np.log(0.9))
    assert np.isnan(calibration.log_loss(p, np.array([-1, -1])))
