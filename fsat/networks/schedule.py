"""Learning rates of the phases of a training, and when a phase ends. No Keras here: plain numbers.

Source: write-up of the 8th place, Freesound General-Purpose Audio Tagging Challenge 2018; the cyclic rate is the
triangular policy of Smith, Cyclical Learning Rates for Training Neural Networks, 2017.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from fsat.core.params import Cyclic, Finetune, Frozen, Plateau, TrainStage


class _FixedPhase:
    """A phase whose rates and length do not depend on the validation loss."""

    def validated(self, loss: float) -> None:
        """Take note of a validation loss, which changes nothing."""

    @property
    def ended(self) -> bool:
        """Whether the phase is over before its last epoch."""
        return False

    def state(self) -> dict[str, Any]:
        """What has to be kept to resume this phase."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""


@dataclass
class FrozenPhase(_FixedPhase):
    """Phase 0: the head alone, on features computed once; it counts as one epoch. See `head.fit`."""

    parameters: Frozen
    name: str = "frozen"

    @property
    def max_epochs(self) -> int:
        """Epochs after which the phase is over in any case."""
        return 1 if self.parameters.epochs else 0

    def rate(self, epoch: int, batch: int, n_batches: int) -> float:
        """Learning rate at the start of the phase."""
        return self.parameters.lr


def triangular_rate(batch: float, n_batches: int, base_lr: float, max_lr: float) -> float:
    """Rate that rises from `base_lr` to `max_lr` within `n_batches` and falls back in as many.

    >>> [round(triangular_rate(batch, 2, 0.0, 1.0), 2) for batch in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    position = (batch / n_batches) % 2.0  # 0 ... 2: one full cycle
    return base_lr + (max_lr - base_lr) * (1.0 - abs(position - 1.0))


@dataclass
class CyclicPhase(_FixedPhase):
    """Phase 1: a triangular rate over a fixed number of epochs."""

    parameters: Cyclic
    name: str = "cyclic"

    @property
    def max_epochs(self) -> int:
        """Epochs after which the phase is over in any case."""
        return self.parameters.epochs

    def rate(self, epoch: int, batch: int, n_batches: int) -> float:
        """Learning rate of a batch; `epoch` counts from 0 within the phase."""
        p = self.parameters
        return triangular_rate(epoch * n_batches + batch, p.half_cycle * n_batches, p.base_lr, p.max_lr)


@dataclass
class PlateauPhase:
    """Phases 2 and 3: a rate that falls when the validation loss no longer does, and an early end.

    The rate is multiplied by `reduce_factor` after `reduce_patience` validations without a gain of more than
    `min_delta`; the phase ends after `stop_patience` validations without any new minimum.
    """

    parameters: Finetune
    plateau: Plateau
    name: str
    lr: float = field(init=False)
    best: float = math.inf
    lowest: float = math.inf
    since_gain: int = 0
    since_minimum: int = 0

    def __post_init__(self) -> None:
        self.lr = self.parameters.lr

    @property
    def max_epochs(self) -> int:
        """Epochs after which the phase is over in any case."""
        return self.parameters.epochs

    def rate(self, epoch: int, batch: int, n_batches: int) -> float:
        """Learning rate of a batch: the same for the whole epoch."""
        return self.lr

    def validated(self, loss: float) -> None:
        """Take note of a validation loss."""
        if loss < self.best - self.plateau.min_delta:
            self.best, self.since_gain = loss, 0
        else:
            self.since_gain += 1
            if self.since_gain >= self.plateau.reduce_patience:
                self.lr, self.since_gain = self.lr * self.plateau.reduce_factor, 0
        if loss < self.lowest:
            self.lowest, self.since_minimum = loss, 0
        else:
            self.since_minimum += 1

    @property
    def ended(self) -> bool:
        """Whether the phase is over before its last epoch."""
        return self.since_minimum >= self.plateau.stop_patience

    def state(self) -> dict[str, Any]:
        """What has to be kept to resume this phase."""
        return {
            "lr": self.lr,
            "best": self.best,
            "lowest": self.lowest,
            "since_gain": self.since_gain,
            "since_minimum": self.since_minimum,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        for name, value in state.items():
            setattr(self, name, value)


Phase = FrozenPhase | CyclicPhase | PlateauPhase


def phases(schedule: TrainStage, plateau: Plateau) -> list[Phase]:
    """The phases that have any epochs, in order."""
    every: list[Phase] = [
        FrozenPhase(schedule.frozen),
        CyclicPhase(schedule.cyclic),
        PlateauPhase(schedule.finetune_low, plateau, "finetune_low"),
        PlateauPhase(schedule.finetune_high, plateau, "finetune_high"),
    ]
    return [phase for phase in every if phase.max_epochs > 0]
