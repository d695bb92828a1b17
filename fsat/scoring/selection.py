"""Which models make the submission: all that are listed, or the subset of lowest log loss on held-out clips."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from fsat.core.errors import FsatError
from fsat.core.numeric import log_probabilities
from fsat.scoring import ensemble
from fsat.scoring.names import STAGES, SUBMISSION

# With fewer held-out clips of some label a choice would be chance.
MIN_CLIPS = 3
_KEYS = ["split", "fold", "fname"]


def why_all(predictions: "pd.DataFrame", labels: Mapping[str, str], models: Sequence[str]) -> str:
    """Why there is nothing to choose a subset by; empty where there is. Arguments as of `choose`."""
    heldout = _rows(predictions, models[0]).query("split == 'heldout'")
    heldout = heldout[heldout["fname"].isin(labels)]
    if heldout["fold"].nunique() < 2:
        return "one fold is trained"
    counts = heldout["fname"].map(labels).value_counts().reindex(predictions.columns[4:], fill_value=0)
    if counts.min() < MIN_CLIPS:
        return f"label {counts.idxmin()} has {counts.min()} held-out clips, fewer than {MIN_CLIPS}"
    return ""


def choose(
    predictions: "pd.DataFrame", labels: Mapping[str, str], models: Sequence[str], *, best: bool
) -> dict[str, Any]:
    """Content of `data/models.json`: the models of the submission, and what they would be without each of them.

    Parameters
    ----------
    predictions : pd.DataFrame
        Columns of `ensemble.combine`, of networks and regressions.
    labels : mapping of fname to label
        Of held-out clips; those without are left out of the choice.
    models
        `ensemble.models`.
    best
        Choose the subset with the lowest log loss, of equal ones the smallest. As in any stacking, the models of the
        other folds did learn from the clips of a fold.

    Returns
    -------
    dict
        "test": models of test clips and bundle, chosen on all held-out clips. "heldout": models by fold, chosen on the
        clips of the other folds. "without": by model such a pair, chosen among the others; empty for a single model.

    Raises
    ------
    FsatError
        If a model has no prediction of a clip.
    """
    heldout = _rows(predictions, models[0]).query("split == 'heldout'")
    folds = sorted(int(fold) for fold in heldout["fold"].unique())
    losses: dict[tuple[str, ...], np.ndarray] = {}
    if best:
        heldout = heldout[heldout["fname"].isin(labels)]
        classes = list(predictions.columns[4:])
        targets = np.array([classes.index(labels[fname]) for fname in heldout["fname"]], dtype=np.int64)
        losses = _clip_losses(predictions, heldout, models, targets)
    number = heldout["fold"].to_numpy()

    def chosen(candidates: Sequence[str], rows: np.ndarray) -> list[str]:
        # Rounded, so that the last digits of another processor choose nothing.
        means = {one: round(float(loss[rows].mean()), 6) for one, loss in losses.items() if {*one} <= {*candidates}}
        smallest = min(means, key=lambda one: means[one]) if means else tuple(candidates)
        return list(smallest)

    def pair(candidates: Sequence[str]) -> dict[str, Any]:
        of_folds = {str(fold): chosen(candidates, number != fold) for fold in folds}
        return {"test": chosen(candidates, number >= 0), "heldout": of_folds}

    others = {model: [other for other in models if other != model] for model in models} if len(models) > 1 else {}
    return pair(models) | {"without": {model: pair(rest) for model, rest in others.items()}}


def _clip_losses(
    predictions: "pd.DataFrame", heldout: "pd.DataFrame", models: Sequence[str], targets: np.ndarray
) -> dict[tuple[str, ...], np.ndarray]:
    """By subset, the smallest first: -log p(given label) of each clip, (n,)."""
    logs = {model: log_probabilities(_aligned(predictions, model, heldout)) for model in models}  # (n, C) each
    subsets = [tuple(subset) for size in range(1, len(models) + 1) for subset in combinations(models, size)]
    rows = np.arange(len(targets))
    means = (ensemble.geometric_mean([logs[model] for model in subset]) for subset in subsets)
    return {subset: -log_probabilities(mean)[rows, targets] for subset, mean in zip(subsets, means, strict=True)}


def submission(predictions: "pd.DataFrame", choice: Mapping[str, Any]) -> "pd.DataFrame":
    """Rows of the model "submission": the geometric mean of the chosen models' probabilities, equally weighted.

    The probabilities of a single model are taken as they are; those under `numeric.EPSILON` count as that. `choice` is
    the result of `choose`, or one of its pairs. `FsatError` if a model has no prediction of a clip.
    """
    labels = list(predictions.columns[4:])
    first = _rows(predictions, choice["test"][0])
    subsets = first["fold"].map({-1: choice["test"], **{int(fold): one for fold, one in choice["heldout"].items()}})
    result = first.assign(model=SUBMISSION)
    for subset in {tuple(one) for one in subsets}:
        mine = (subsets.map(tuple) == subset).to_numpy()
        tables = [_aligned(predictions, model, result[mine]) for model in subset]
        alone = len(tables) == 1
        result.loc[mine, labels] = tables[0] if alone else ensemble.geometric_mean([*map(log_probabilities, tables)])
    return result


def sole(choice: Mapping[str, Any]) -> str | None:
    """The model that alone makes the whole submission, if one does."""
    subsets = [choice["test"], *choice["heldout"].values()]
    return choice["test"][0] if all(subset == choice["test"][:1] for subset in subsets) else None


def _rows(predictions: "pd.DataFrame", model: str) -> "pd.DataFrame":
    found = predictions[predictions["model"] == model]
    if found.empty:
        why = "is not trained" if model in STAGES else "needs a backbone that is pre-trained on sound (stage `embed`)"
        raise FsatError(f"ensemble.models: lists {model}, of which there are no predictions: it {why}.")
    return found


def _aligned(predictions: "pd.DataFrame", model: str, rows: "pd.DataFrame") -> np.ndarray:
    """Probabilities (n, C) by a model in the order of other rows."""
    import pandas as pd

    wanted = pd.MultiIndex.from_frame(rows[_KEYS])
    found = _rows(predictions, model).set_index(_KEYS)[list(predictions.columns[4:])].reindex(wanted)
    if found.isna().any(axis=None):
        clip = found.index[found.isna().any(axis=1)][0][-1]
        raise FsatError(f"no prediction of clip {clip} by {model}. Run `dvc repro`.")
    return found.to_numpy(np.float64)
