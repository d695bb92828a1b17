"""Late fusion: what it multiplies, and that its weight is chosen on held-out clips of other folds."""

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.scoring import fusion


def predictions(stage: str, rows: list[tuple[str, int, str, float]]) -> pd.DataFrame:
    """split, fold, fname and the probability of the first of two labels."""
    keys = [(stage, split, fold, fname, p, 1 - p) for split, fold, fname, p in rows]
    return pd.DataFrame(keys, columns=["stage", "split", "fold", "fname", "a", "b"])


def test_late_fusion_multiplies_stage_2_by_the_baseline() -> None:
    both = [predictions(stage, [("test", -1, "x", 0.5), ("heldout", 0, "y", 0.8)]) for stage in ("stage1", "stage2")]
    networks = pd.concat(both, ignore_index=True)
    baseline = predictions("fused", [("heldout", 0, "y", 0.5), ("test", -1, "x", 0.9)])
    fused = fusion.fuse(networks, baseline, weights={-1: 0.5, 0: 0.5})
    pd.testing.assert_frame_equal(fused[fused["stage"] == "stage1"], networks[networks["stage"] == "stage1"])
    np.testing.assert_allclose(fused.loc[fused["stage"] == "stage2", "a"], [0.75, 0.8])  # sqrt(0.9) : sqrt(0.1) = 3 : 1
    assert fusion.fuse(networks, baseline, weights={-1: 0.0, 0: 0.0}) is networks


def test_late_fusion_of_a_label_that_the_baseline_never_saw_is_finite() -> None:
    networks, baseline = (predictions(stage, [("test", -1, "x", 0.0)]) for stage in ("stage2", "fused"))
    fused = fusion.fuse(networks, baseline, weights={-1: 1.0})
    assert fused["a"].iloc[0] == pytest.approx(0, abs=1e-12) and fused["b"].iloc[0] == pytest.approx(1)


def test_late_fusion_names_a_clip_without_a_baseline() -> None:
    networks = predictions("stage2", [("test", -1, "x", 0.5)])
    with pytest.raises(FsatError, match="clip x"):
        fusion.fuse(networks, predictions("fused", [("test", -1, "y", 0.5)]), weights={-1: 0.5})


def test_each_fold_is_fused_with_its_own_weight() -> None:
    networks = predictions("stage2", [("heldout", 0, "x", 0.5), ("heldout", 1, "y", 0.5), ("heldout", 2, "z", 0.5)])
    baseline = networks.assign(stage="fused", a=0.9, b=0.1)
    fused = fusion.fuse(networks, baseline, weights={0: 0.5, 1: 1.0})
    np.testing.assert_allclose(fused["a"], [0.75, 0.9, 0.5])


def clips(
    shares_right: tuple[float, float], *, n: int = 400, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Held-out clips of two labels in four folds: networks and a baseline that are right in these shares of them.

    Both say 0.8 and 0.2, and they are wrong independently of each other.
    """
    rng = np.random.default_rng(seed)
    is_a = np.arange(n) % 2 == 0
    tables = []
    for stage, share in zip(("stage2", "fused"), shares_right, strict=True):
        right = rng.permutation(n) < share * n
        p = np.where(is_a == right, 0.8, 0.2)
        rows = [("heldout", row % 4, f"{row:03d}.wav", float(p[row])) for row in range(n)]
        tables.append(predictions(stage, rows))
    labels = {fname: "a" if a else "b" for fname, a in zip(tables[0]["fname"], is_a, strict=True)}
    return tables[0], tables[1], labels


def test_the_weight_follows_what_both_are_worth() -> None:
    networks, baseline, labels = clips((0.9, 0.8))
    weights = fusion.choose_weights(networks, baseline, labels)
    # Of independent models the best factor of a log p is as ln(right / wrong): ln 4 / ln 9.
    assert weights[-1] == pytest.approx(np.log(4) / np.log(9), abs=0.15)
    assert sorted(weights) == [-1, 0, 1, 2, 3]
    networks, baseline, labels = clips((0.9, 0.5))
    assert fusion.choose_weights(networks, baseline, labels)[-1] < 0.15
    networks, baseline, labels = clips((0.4, 0.9))
    assert fusion.choose_weights(networks, baseline, labels)[-1] == fusion.MAX_WEIGHT


def test_a_fold_has_no_say_in_its_own_weight() -> None:
    networks, baseline, labels = clips((0.9, 0.8))
    weights = fusion.choose_weights(networks, baseline, labels)
    flipped = labels | dict.fromkeys(networks.loc[networks["fold"] == 1, "fname"], "a")
    others = fusion.choose_weights(networks, baseline, flipped)
    assert others[1] == weights[1]
    assert others[-1] != weights[-1] and others[0] != weights[0]


def test_a_single_fold_has_nothing_to_choose_its_weight_by() -> None:
    networks, baseline, labels = clips((0.9, 0.8))
    one = fusion.choose_weights(networks.assign(fold=2), baseline.assign(fold=2), labels)
    assert one[2] == 0 and one[-1] > 0
