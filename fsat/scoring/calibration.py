"""Temperature scaling and expected calibration error.

Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, 2017.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fsat.scoring.ensemble import geometric_mean

if TYPE_CHECKING:
    from fsat.scoring.outcomes import Outcome

N_BINS = 15  # of confidence, of equal width
LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are looked for


@dataclass(frozen=True)
class Scored:
    """Predictions of clips whose label is known."""

    probabilities: np.ndarray  # (n, C)
    labels: np.ndarray  # int64 (n,): index of the given class; -1 for none of them, which counts as a mistake
    groups: np.ndarray  # int64 (n,): the fold that held a clip out

    @property
    def confidence(self) -> np.ndarray:
        """Probability of each clip's most probable label, (n,)."""
        return self.probabilities.max(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether that is the given one, bool (n,)."""
        return self.probabilities.argmax(axis=1) == self.labels


def scored(outcome: "Outcome", classes: Sequence[str]) -> Scored:
    """The outcome of a model on some clips as arrays; `classes` are the columns of its probabilities."""
    number = {label: column for column, label in enumerate(classes)}
    labels = np.array([number.get(label, -1) for label in outcome.clips["actual"]], dtype=np.int64)
    return Scored(outcome.probabilities, labels, outcome.clips["fold"].to_numpy(np.int64))


def scale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (n, C) of the same logits divided by `temperature`: p to the power of 1 / temperature, sum 1.

    The order of a clip's labels stays.

    >>> scale(np.array([[0.8, 0.2]]), 2.0).round(3)
    array([[0.667, 0.333]])
    """
    if temperature == 1:
        return probabilities
    return geometric_mean([np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature])


def scale_independent(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Sigmoid probabilities (n, C) of the same logits divided by `temperature`.

    >>> scale_independent(np.array([[0.8, 0.5]]), 2.0).round(3)
    array([[0.667, 0.5  ]])
    """
    if temperature == 1:
        return probabilities
    # log(p / (1 - p)), finite where p is 0 or 1.
    log_p = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    logits = log_p - np.log(np.maximum(1 - probabilities, np.finfo(np.float64).tiny))
    return 1 / (1 + np.exp(-logits / temperature))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log p(given label) over the clips whose label is a class; NaN if there is none.

    >>> round(log_loss(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0, -1])), 3)
    0.693
    """
    rows = np.flatnonzero(labels >= 0)
    if len(rows) == 0:
        return float("nan")
    chosen = np.maximum(probabilities[rows, labels[rows]], np.finfo(np.float64).tiny)
    return float(-np.log(chosen).mean())


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Temperature between `LOWEST` and `HIGHEST` with the lowest log loss, to four digits; 1 without clips.

    Probabilities, (n, C), are of clips that the model has not learned from; a label of -1 does not count. So that a
    few clips, all tagged right, do not ask for certainty, one more is fitted with: each label is as likely as its
    given one, and its predictions are the mean over the others.
    """
    from scipy.optimize import minimize_scalar

    known = labels >= 0
    if not known.any():
        return 1.0
    probabilities, labels = probabilities[known], labels[known]

    def loss(log_t: float) -> float:
        scaled = scale(probabilities, float(np.exp(log_t)))
        of_any_label = -np.log(np.maximum(scaled, np.finfo(np.float64).tiny)).mean()
        return log_loss(scaled, labels) + float(of_any_label) / len(labels)

    # Convex in 1 / temperature, so it has one minimum in its logarithm too.
    found = minimize_scalar(
        loss,
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(f"{np.exp(found.x):.4g}")


def cross_scaled(scored: Scored) -> np.ndarray:
    """Probabilities of each group, scaled by the temperature that the other groups ask for.

    With one group alone, every second clip is a group of its own.
    """
    groups = scored.groups if len(np.unique(scored.groups)) > 1 else np.arange(len(scored.labels)) % 2
    result = np.empty(scored.probabilities.shape)
    for group in np.unique(groups):
        mine = groups == group
        temperature = fit_temperature(scored.probabilities[~mine], scored.labels[~mine])
        result[mine] = scale(scored.probabilities[mine], temperature)
    return result


def reliability(confidence: np.ndarray, correct: np.ndarray) -> dict[str, np.ndarray]:
    """Clips in bins of confidence, (0, 1/N_BINS], (1/N_BINS, 2/N_BINS] ...: arrays (N_BINS,).

    "n", int64; "confidence" and "accuracy", the means over a bin's clips, NaN where it has none.
    """
    number = np.clip(np.ceil(confidence * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1)
    n = np.bincount(number, minlength=N_BINS)
    # 0 / 0 is NaN where a bin is empty.
    with np.errstate(invalid="ignore"):
        means = (np.bincount(number, weights=values, minlength=N_BINS) / n for values in (confidence, correct))
        return dict(zip(("n", "confidence", "accuracy"), (n, *means), strict=True))


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error: mean over clips of |accuracy - confidence| of their bin; NaN without clips.

    >>> round(calibration_error(np.array([0.9, 0.9]), np.array([True, False])), 3)
    0.4
    """
    bins = reliability(confidence, correct)
    if not bins["n"].any():
        return float("nan")
    gaps = np.abs(bins["accuracy"] - bins["confidence"])
    return float(np.nansum(bins["n"] * gaps) / bins["n"].sum())


@dataclass(frozen=True)
class Calibration:
    """The temperature fitted on all held-out clips, and what it changes.

    `ece` and `log_loss` are pairs, before and after, by "cv" (after: each fold by the temperature of the others) and,
    where test clips have labels, "test". `curve` holds arrays (N_BINS,) of the held-out clips: "confidence" (middle of
    a bin), "before" and "after" (accuracy, NaN where a bin is empty), "n_before", "n_after".
    """

    temperature: float
    ece: dict[str, list[float]]
    log_loss: dict[str, list[float]]
    curve: dict[str, np.ndarray]


def calibrate(heldout: Scored, test: Scored) -> Calibration:
    """Fit the temperature of a model on its held-out clips, and say what it changes.

    A held-out prediction is that of one fold's network, a test prediction the mean of all of them, which is less sure
    of itself: a temperature that suits the one need not suit the other. `test` may be empty; it is left out if no label
    is a class.
    """
    temperature = fit_temperature(heldout.probabilities, heldout.labels)
    pairs = {"cv": (heldout, replace(heldout, probabilities=cross_scaled(heldout)))}
    if (test.labels >= 0).any():
        pairs["test"] = (test, replace(test, probabilities=scale(test.probabilities, temperature)))
    ece, losses = {}, {}
    for part, pair in pairs.items():
        ece[part] = [round(calibration_error(one.confidence, one.correct), 6) for one in pair]
        losses[part] = [round(log_loss(one.probabilities, one.labels), 6) for one in pair]
    curve = {"confidence": (np.arange(N_BINS) + 0.5) / N_BINS}
    for name, scored in zip(("before", "after"), pairs["cv"], strict=True):
        bins = reliability(scored.confidence, scored.correct)
        curve |= {name: bins["accuracy"], f"n_{name}": bins["n"]}
    return Calibration(temperature, ece, losses, curve)


def headline(found: Mapping[str, Calibration]) -> dict[str, Any]:
    """Numbers of all models for `metrics/calibration.json`: those after calibration, then pairs of before and after.

    A pair is a list, so that `dvc metrics diff` leaves it out.
    """
    parts = list(next(iter(found.values())).ece)
    pairs = {
        name: {part: {model: getattr(value, name)[part] for model, value in found.items()} for part in parts}
        for name in ("ece", "log_loss")
    }
    return {
        "temperature": {model: value.temperature for model, value in found.items()},
        "ece": {part: {model: pair[1] for model, pair in models.items()} for part, models in pairs["ece"].items()},
        "before_after": pairs,
    }
