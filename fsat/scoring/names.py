"""Names of the models that are scored: the two networks, and the baseline they are compared with."""

from typing import Literal, get_args

Stage = Literal["stage1", "stage2"]
STAGES: tuple[str, ...] = get_args(Stage)
# Regressions of `data/baseline.parquet`: on the best feature set, and on all features, which stage 2 is fused with.
BASELINE, FUSED = "baseline", "fused"
NAMES = {
    "stage2": "Stage 2: mel + PCA",
    "stage1": "Stage 1: mel only",
    BASELINE: "Baseline: logistic regression",
}
