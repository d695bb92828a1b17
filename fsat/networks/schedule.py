"""Learning rates of the phases of a training, and when a phase ends. No Keras here: plain numbers.

Source: write-up of the 8th place, Freesound General-Purpose Audio Tagging Challenge 2018; the cyclic rate is the
triangular policy of Smith, Cyclical Learning Rates for Training Neural Networks, 2017.
"""

import math
from dataclasses import dataclass
from typing import Any

from fsat.core.params import Finetune, Plateau, TrainStage


@dataclass
class Phase:
    """A phase whose rates and length do not depend on the validation loss; `parameters` are its section."""

    name: str
    parameters: Any
    max_epochs: int

    @property
    def ended(self) -> bool:
        """Whether the phase is over before its last epoch."""
        return False

    def rate(self, epoch: int, batch: int, n_batches: int) -> float:
        """Learning rate of a batch; `epoch` counts from 0 within the phase."""
        return self.parameters.lr

    def validated(self, loss: float) -> None:
        """Take note of a validation loss."""

    def state(self) -> dict[str, Any]:
        """What has to be kept to resume this phase."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        vars(self).update(state)


def triangular_rate(batch: float, n_batches: int, base_lr: float, max_lr: float) -> float:
    """Rate that rises from `base_lr` to `max_lr` within `n_batches` and falls back in as many.

    >>> [round(triangular_rate(batch, 2, 0.0, 1.0), 2) for batch in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    position = (batch / n_batches) % 2.0  # 0 ... 2: one full cycle
    return base_lr + (max_lr - base_lr) * (1.0 - abs(position - 1.0))


class CyclicPhase(Phase):
    """Phase 1: a triangular rate over a fixed number of epochs."""

    def rate(self, epoch: int, batch: int, n_batches: int) -> float:
        """Learning rate of a batch; `epoch` counts from 0 within the phase."""
        p = self.parameters
        return triangular_rate(epoch * n_batches + batch, p.half_cycle * n_batches, p.base_lr, p.max_lr)


class PlateauPhase(Phase):
    """Phases 2 and 3: a rate that falls when the validation loss no longer does, and an early end.

    The rate is multiplied by `reduce_factor` after `reduce_patience` validations without a gain of more than
    `min_delta`; the phase ends after `stop_patience` validations without any new minimum.
    """

    def __init__(self, name: str, parameters: Finetune, plateau: Plateau) -> None:
        super().__init__(name, parameters, parameters.epochs)
        self.plateau = plateau
        self.lr, self.best, self.lowest = parameters.lr, math.inf, math.inf
        self.since_gain, self.since_minimum = 0, 0

    @property
    def ended(self) -> bool:
        """Whether the phase is over before its last epoch."""
        return self.since_minimum >= self.plateau.stop_patience

    def rate(self, epoch: int, batch: int, n_batches: int) -> float:
        """Learning rate of a batch: the same for the whole epoch."""
        return self.lr

    def validated(self, loss: float) -> None:
        """Take note of a validation loss."""
        self.since_gain, self.since_minimum = self.since_gain + 1, self.since_minimum + 1
        if loss < self.best - self.plateau.min_delta:
            self.best, self.since_gain = loss, 0
        elif self.since_gain >= self.plateau.reduce_patience:
            self.lr, self.since_gain = self.lr * self.plateau.reduce_factor, 0
        if loss < self.lowest:
            self.lowest, self.since_minimum = loss, 0

    def state(self) -> dict[str, Any]:
        """What has to be kept to resume this phase."""
        return {name: getattr(self, name) for name in ("lr", "best", "lowest", "since_gain", "since_minimum")}


def phases(schedule: TrainStage, plateau: Plateau) -> list[Phase]:
    """The phases that have any epochs, in order."""
    every: list[Phase] = [
        # Phase 0: the head alone, on features computed once (`head.fit`). One row of the history.
        Phase("frozen", schedule.frozen, min(schedule.frozen.epochs, 1)),
        CyclicPhase("cyclic", schedule.cyclic, schedule.cyclic.epochs),
        PlateauPhase("finetune_low", schedule.finetune_low, plateau),
        PlateauPhase("finetune_high", schedule.finetune_high, plateau),
    ]
    return [phase for phase in every if phase.max_epochs > 0]
