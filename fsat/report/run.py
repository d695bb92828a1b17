"""What a report is made of: the tables of one run, and the names of its groups of clips."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fsat.inputs.frames import FrameStore
from fsat.scoring import selection
from fsat.scoring.names import STAGES, Stage

SPLITS = {"heldout": "Held-out clips", "test": "Test clips"}
CV_CAUTION = "cv: weights were chosen on the held-out fold"


@dataclass(frozen=True)
class Run:
    """What a report is made of: files of the pipeline where nothing else is said."""

    predictions: pd.DataFrame  # data/predictions.parquet
    index: pd.DataFrame  # data/index.csv
    folds: pd.DataFrame  # data/folds.csv
    trim: pd.DataFrame  # data/trim.csv
    # By fold the epochs of the trained networks: stage, epoch, phase, learning_rate, loss, val_loss, val_map3,
    # val_accuracy; the last three may be missing in some epochs.
    histories: Mapping[int, pd.DataFrame]
    mel: Mapping[str, FrameStore]  # train, test
    regressions: pd.DataFrame  # data/baseline.parquet
    models: pd.DataFrame  # metrics/models.csv
    choice: dict[str, Any]  # data/models.json
    feature_sets: dict[str, Any]  # metrics/baseline.json
    facts: dict[str, Any]  # metrics/data.json
    pca: dict[str, Any]  # metrics/pca.json
    variance: pd.DataFrame  # component, cumulative
    calibration: dict[str, Any]  # metrics/calibration.json
    reliability: pd.DataFrame  # metrics/reliability.csv
    thresholds: pd.DataFrame  # metrics/thresholds.csv
    events: dict[str, Any]  # metrics/events.json
    parameters: dict[str, Any]  # by section, nested as in params.yaml
    meanings: Mapping[str, str]  # by dotted key, what each parameter is

    @property
    def dataset(self) -> Path:
        """The dataset folder."""
        return Path(self.parameters["dataset"]["path"])

    @property
    def is_demo(self) -> bool:
        """Whether the clips are synthesised ones."""
        return bool(self.facts["synthetic"])

    @property
    def sample_rate(self) -> int:
        """Rate in Hz at which `trim` counts."""
        return int(self.parameters["audio"]["sample_rate"])

    @property
    def networks(self) -> list[Stage]:
        """The stages that were trained."""
        return [stage for stage in STAGES if any((rows["stage"] == stage).any() for rows in self.histories.values())]

    def of_stage(self, stage: str) -> Iterator[tuple[int, pd.DataFrame]]:
        """Folds in order, each with its epochs of one stage."""
        for fold, rows in sorted(self.histories.items()):
            yield fold, rows[rows["stage"] == stage]

    @property
    def sole(self) -> str | None:
        """The model that alone is the submission, if one is."""
        return selection.sole(self.choice)

    @property
    def baseline(self) -> str:
        """The regression that the submission is compared with: the one with the highest held-out MAP@3."""
        return str(self.feature_sets["best"])

    @property
    def is_cautious(self) -> bool:
        """Whether networks have weights that were chosen on the held-out clips."""
        return self.select != "last" and bool(self.networks)

    @property
    def select(self) -> str:
        """Which epoch's weights a training hands on: best or last."""
        return str(self.parameters["train"]["select"])
