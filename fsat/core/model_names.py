"""Names of models and views that the schema and all that comes after it share; imports nothing slow."""

from typing import Literal

# What can make the submission: networks, and logistic regressions on the statistics and on views of a frozen trunk.
ModelName = Literal["stage1", "stage2", "statistics", "last", "middle"]
View = Literal["last", "middle", "pooled"]
