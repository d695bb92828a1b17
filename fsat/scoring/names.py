"""Names of the models that are scored: the two networks, and the baseline they are compared with."""

from typing import Literal, get_args

Stage = Literal["stage1", "stage2"]
STAGES: tuple[str, ...] = get_args(Stage)
# The best feature set, and the one that is fused with stage 2.
BASELINE, STATISTICS = "baseline", "statistics"
NAMES = {
    "stage2": "Stage 2: mel + PCA",
    "stage1": "Stage 1: mel only",
    BASELINE: "Baseline: logistic regression",
}
