"""Late fusion: what it multiplies, and that its weight is chosen on held-out clips of other folds."""

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.scoring import fusion


def predictions(model: str, rows: list[tuple[str, int, str, float]]) -> pd.DataFrame:
    """split, fold, fname and the probability of the first of two labels."""
    keys = [(model, split, fold, fname, p, 1 - p) for split, fold, fname, p in rows]
    return pd.DataFrame(keys, columns=["model", "split", "fold", "fname", "a", "b"])


def test_late_fusion_multiplies_stage_2_by_the_regression() -> None:
    both = [predictions(model, [("test", -1, "x", 0.5), ("heldout", 0, "y", 0.8)]) for model in ("stage1", "stage2")]
    networks = pd.concat(both, ignore_index=True)
    regression = predictions("regression_all", [("heldout", 0, "y", 0.5), ("test", -1, "x", 0.9)])
    found = fusion.submission(networks, regression, weights={-1: 0.5, 0: 0.5})
    assert found["model"].tolist() == ["submission"] * 2 and found["fname"].tolist() == ["x", "y"]
    np.testing.assert_allclose(found["a"], [0.75, 0.8])  # sqrt(0.9) : sqrt(0.1) = 3 : 1
    pd.testing.assert_frame_equal(networks, pd.concat(both, ignore_index=True))  # the networks alone stay
    alone = fusion.submission(networks, regression, weights={-1: 0.0, 0: 0.0})
    pd.testing.assert_frame_equal(alone.reset_index(drop=True), both[1].assign(model="submission"), check_exact=True)


def test_late_fusion_of_a_label_that_the_regression_never_saw_is_finite() -> None:
    networks, regression = (predictions(model, [("test", -1, "x", 0.0)]) for model in ("stage2", "regression_all"))
    fused = fusion.submission(networks, regression, weights={-1: 1.0})
    assert fused["a"].iloc[0] == pytest.approx(0, abs=1e-12) and fused["b"].iloc[0] == pytest.approx(1)


def test_late_fusion_names_a_clip_without_a_regression() -> None:
    networks = predictions("stage2", [("test", -1, "x", 0.5)])
    others = [("regression_all", "y"), ("regression", "x")]  # the latter is not what is fused
    regression = pd.concat([predictions(model, [("test", -1, fname, 0.5)]) for model, fname in others])
    with pytest.raises(FsatError, match="clip x"):
        fusion.submission(networks, regression, weights={-1: 0.5})


def test_each_fold_is_fused_with_its_own_weight() -> None:
    networks = predictions("stage2", [("heldout", 0, "x", 0.5), ("heldout", 1, "y", 0.5), ("heldout", 2, "z", 0.5)])
    regression = networks.assign(model="regression_all", a=0.9, b=0.1)
    fused = fusion.submission(networks, regression, weights={0: 0.5, 1: 1.0})
    np.testing.assert_allclose(fused["a"], [0.75, 0.9, 0.5])


def clips(
    shares_right: tuple[float, float], *, n: int = 400, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Held-out clips of two labels in four folds: networks and a regression that are right in these shares of them.

    Both say 0.8 and 0.2, and they are wrong independently of each other.
    """
    rng = np.random.default_rng(seed)
    is_a = np.arange(n) % 2 == 0
    tables = []
    for model, share in zip(("stage2", "regression_all"), shares_right, strict=True):
        right = rng.permutation(n) < share * n
        p = np.where(is_a == right, 0.8, 0.2)
        rows = [("heldout", row % 4, f"{row:03d}.wav", float(p[row])) for row in range(n)]
        tables.append(predictions(model, rows))
    labels = {fname: "a" if a else "b" for fname, a in zip(tables[0]["fname"], is_a, strict=True)}
    return tables[0], tables[1], labels


def test_the_weight_follows_what_both_are_worth() -> None:
    networks, regression, labels = clips((0.9, 0.8))
    weights = fusion.choose_weights(networks, regression, labels)
    # Of independent models the best factor of a log p is as ln(right / wrong): ln 4 / ln 9.
    assert weights[-1] == pytest.approx(np.log(4) / np.log(9), abs=0.15)
    assert sorted(weights) == [-1, 0, 1, 2, 3]
    networks, regression, labels = clips((0.9, 0.5))
    assert fusion.choose_weights(networks, regression, labels)[-1] < 0.15
    networks, regression, labels = clips((0.4, 0.9))
    assert fusion.choose_weights(networks, regression, labels)[-1] == fusion.MAX_WEIGHT


def test_a_fold_has_no_say_in_its_own_weight() -> None:
    networks, regression, labels = clips((0.9, 0.8))
    weights = fusion.choose_weights(networks, regression, labels)
    flipped = labels | dict.fromkeys(networks.loc[networks["fold"] == 1, "fname"], "a")
    others = fusion.choose_weights(networks, regression, flipped)
    assert others[1] == weights[1]
    assert others[-1] != weights[-1] and others[0] != weights[0]


def test_a_single_fold_has_nothing_to_choose_its_weight_by() -> None:
    networks, regression, labels = clips((0.9, 0.8))
    one = fusion.choose_weights(networks.assign(fold=2), regression.assign(fold=2), labels)
    assert one[2] == 0 and one[-1] > 0
