"""Self-verification of labels: which unverified labels the out-of-fold predictions confirm, and which they contradict.

Source: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70 (2021). A
class has a threshold of its own, the mean probability that the model gives it on clips of that label, so that a class
which the model is never sure of is not doubted as a whole. Here that mean is over verified clips where there are
enough of them, because the wrong labels among the others lower it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsat.core.errors import FsatError
from fsat.scoring import outcomes
from fsat.scoring.names import SUBMISSION

# A class with fewer verified clips has its threshold from all clips of its label.
MIN_VERIFIED = 5
VERIFY, RELABEL, DROP, KEEP = "verify", "relabel", "drop", "keep"
# The rule, by q: the held-out probability of a label over the threshold of its class.
AGREE = 1.0  # q of the given label from which it is verified
DOUBT = 0.3  # q of the given label below which it is doubted
REPLACE = 1.0  # q of another label from which a doubted clip gets it


@dataclass(frozen=True)
class Evidence:
    """What the held-out predictions of one model say about labels."""

    fnames: list[str]  # of the n clips that were held out
    given: list[str]  # their labels in the dataset
    is_verified: np.ndarray  # bool (n,): the label is known, by the dataset's own flag or somebody's correction
    probabilities: np.ndarray  # float64 (n, C)
    classes: list[str]
    thresholds: np.ndarray  # float64 (C,): mean probability of a class on clips of its label; NaN without a clip


def gather(
    predictions: pd.DataFrame,
    index: pd.DataFrame,
    *,
    model: str = SUBMISSION,
    known: Mapping[str, str | None] | None = None,
) -> Evidence:
    """Join held-out predictions with labels, and find the threshold of each class.

    `predictions` and `index` are `data/predictions.parquet` and `data/index.csv`. `known` holds the clips about which
    somebody has decided: their label, or None for a clip that was dropped.
    `FsatError` if predictions and index do not belong together.
    """
    found = outcomes.outcome(predictions, index, split="heldout", model=model)
    classes, clips = outcomes.class_names(predictions), found.clips
    decided = known or {}
    fnames, given = clips["fname"].tolist(), clips["actual"].tolist()
    flagged = clips["verified"].eq(True).to_numpy(bool)
    is_verified = flagged | np.array([fname in decided for fname in fnames], dtype=bool)
    label = [decided.get(fname, own) for fname, own in zip(fnames, given, strict=True)]
    column = np.array([classes.index(name) if name in classes else -1 for name in label])
    thresholds = np.full(len(classes), np.nan)
    for number in range(len(classes)):
        mine = column == number
        trusted = mine & is_verified
        chosen = trusted if trusted.sum() >= MIN_VERIFIED else mine
        if chosen.any():
            thresholds[number] = found.probabilities[chosen, number].mean()
    return Evidence(fnames, given, is_verified, found.probabilities, classes, thresholds)


def propose(evidence: Evidence, rest: str) -> pd.DataFrame:
    """What to do about each clip whose label is not known.

    With q = p / threshold of each class: ``verify`` where q of the given label is at least `AGREE`; doubted where it is
    under `DOUBT`; of these ``relabel`` to the other label of the highest q where that is at least `REPLACE`, else
    `rest` (drop or keep); ``keep``, undecided, in between. Columns, by fname: fname, label (the dataset's), action,
    other (label of the highest q but for the given one), p_label, p_other. `FsatError` if a label is no class of the
    predictions.
    """
    if strangers := {*evidence.given} - {*evidence.classes}:
        raise FsatError(f"label {min(strangers)} is in data/index.csv but not in the predictions. Run `dvc repro`.")
    given = np.array([evidence.classes.index(label) for label in evidence.given], dtype=np.int64)
    rows = np.arange(len(given))
    q = np.nan_to_num(evidence.probabilities / evidence.thresholds)  # (n, C)
    own = q[rows, given]
    q[rows, given] = -1.0  # from here on of the other labels
    other = q.argmax(axis=1)
    doubted = own < DOUBT
    action = np.full(len(given), KEEP, dtype=object)
    action[own >= AGREE] = VERIFY
    action[doubted] = rest
    action[doubted & (q[rows, other] >= REPLACE)] = RELABEL
    table = pd.DataFrame(
        {
            "fname": evidence.fnames,
            "label": evidence.given,
            "action": action,
            "other": [evidence.classes[column] for column in other],
            "p_label": evidence.probabilities[rows, given],
            "p_other": evidence.probabilities[rows, other],
        }
    )
    return table[~evidence.is_verified].sort_values("fname", ignore_index=True)


def per_class(proposals: pd.DataFrame) -> pd.DataFrame:
    """A row a label of the dataset that has clips to decide about: label, clips, verify, relabel, drop, keep."""
    actions = [VERIFY, RELABEL, DROP, KEEP]
    counts = pd.crosstab(proposals["label"], proposals["action"]).reindex(columns=actions, fill_value=0)
    table = counts.assign(clips=counts.sum(axis=1)).reset_index()
    table.columns.name = None
    return table[["label", "clips", *actions]]


def noise(evidence: Evidence) -> pd.DataFrame:
    """Estimated share of wrong labels among the clips that are not verified, by the confident joint.

    A clip counts as label j where p(j) is at least the threshold of j, the largest of those where several are; clips
    below all thresholds are left out. The estimate is the share counted as another label than the given one. A row a
    class: label, verified, unverified (clips held out), counted, wrong, noise (wrong / counted; missing where no clip
    was counted), mostly (the label most of the wrong ones are counted as, or "").
    """
    reached = np.where(evidence.probabilities >= evidence.thresholds, evidence.probabilities, -1.0)  # (n, C)
    said = np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)
    given = np.array(evidence.given, dtype=object)
    rows = []
    for number, label in enumerate(evidence.classes):
        mine = given == label
        unverified = mine & ~evidence.is_verified
        as_what = said[unverified & (said >= 0)]
        wrong = np.bincount(as_what[as_what != number], minlength=len(evidence.classes))
        rows.append(
            {
                "label": label,
                "verified": int((mine & evidence.is_verified).sum()),
                "unverified": int(unverified.sum()),
                "counted": len(as_what),
                "wrong": int(wrong.sum()),
                "noise": round(float(wrong.sum() / len(as_what)), 6) if len(as_what) else None,
                "mostly": evidence.classes[int(wrong.argmax())] if wrong.sum() else "",
            }
        )
    return pd.DataFrame(rows).astype({"noise": "Float64"})


def scores(predictions: pd.DataFrame, index: pd.DataFrame, estimate: pd.DataFrame) -> dict[str, Any]:
    """Content of `metrics/labels.json`: the submission on verified and unverified held-out clips; the noise estimate.

    All by the dataset's own labels and flags, whatever was corrected; `estimate` is that of `noise`. ``verified`` and
    ``unverified`` each have map3 and n (a group without clips has no key), and ``noise`` is the estimated share of
    wrong labels among the unverified clips (no key where none was counted).
    """
    clips = outcomes.outcome(predictions, index, split="heldout", model=SUBMISSION).clips
    is_verified = clips["verified"].eq(True).to_numpy(bool)
    found: dict[str, Any] = {}
    for name, chosen in (("verified", clips[is_verified]), ("unverified", clips[~is_verified])):
        if len(chosen):
            found[name] = {"map3": round(float(chosen["ap3"].to_numpy(np.float64).mean()), 6), "n": len(chosen)}
    if counted := int(estimate["counted"].sum()):
        found["noise"] = round(float(estimate["wrong"].sum() / counted), 6)
    return found
