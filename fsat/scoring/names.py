"""Names of the models that are scored: the column `model` of predictions and scores, and what people are shown."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

from fsat.core.model_names import ModelName

# All that can make the submission: networks, and logistic regressions, for which no network is trained.
MODELS: tuple[ModelName, ...] = get_args(ModelName)
# The networks alone.
Stage = Literal["stage1", "stage2"]
STAGES: tuple[Stage, ...] = get_args(Stage)
REGRESSIONS: tuple[ModelName, ...] = tuple(model for model in MODELS if model not in STAGES)
# What is scored and sent: the geometric mean of the models chosen by `ensemble`.
SUBMISSION: Final = "submission"
NAMES = {
    SUBMISSION: "Submission",
    "stage2": "Stage 2: mel + PCA",
    "stage1": "Stage 1: mel only",
    "statistics": "Statistics: regression, no training",
    "last": "Last layer: regression, no training",
    "middle": "Middle layers: regression, no training",
}


def short(model: str) -> str:
    """``stage 2``, ``last layer``."""
    return NAMES[model].split(":")[0].lower()


def listed(models: Sequence[str]) -> str:
    """``stage 2, statistics and last layer``."""
    *others, last = map(short, models)
    return f"{', '.join(others)} and {last}" if others else last
