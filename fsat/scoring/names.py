"""Names of the models that are scored: the two networks, and the baseline they are compared with."""

STAGES = ("stage1", "stage2")
# The best feature set, and the one that is fused with stage 2.
BASELINE, STATISTICS = "baseline", "statistics"
NAMES = {
    "stage2": "Stage 2: mel + PCA",
    "stage1": "Stage 1: mel only",
    BASELINE: "Baseline: logistic regression",
}
