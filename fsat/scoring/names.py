"""Names of the models that are scored: the column `model` of predictions and scores, and what people are shown."""

from typing import Literal, get_args

# The networks alone.
Stage = Literal["stage1", "stage2"]
STAGES: tuple[Stage, ...] = get_args(Stage)
# What is scored and sent: stage 2, fused with a regression where `ensemble.baseline_weight` is not 0.
SUBMISSION = "submission"
# Without training: logistic regression on the best feature set, and on all features, which late fusion adds.
REGRESSION, REGRESSION_ALL = "regression", "regression_all"
NAMES = {
    SUBMISSION: "Submission: stage 2, fused with the regression on all features",
    "stage2": "Stage 2: mel + PCA",
    "stage1": "Stage 1: mel only",
    REGRESSION: "Regression: best features, no training",
    REGRESSION_ALL: "Regression on all features: what late fusion adds",
}
