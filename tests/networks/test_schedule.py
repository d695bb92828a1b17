"""Learning rates and ends of phases, against numbers worked out by hand."""

import pytest

from fsat.core import params
from fsat.networks.schedule import CyclicPhase, PlateauPhase

PLATEAU = params.Plateau(reduce_factor=0.1, reduce_patience=3, min_delta=1e-4, stop_patience=10)


def falling(plateau: params.Plateau = PLATEAU) -> PlateauPhase:
    return PlateauPhase("finetune_low", params.Finetune(epochs=100, lr=1e-4), plateau)


def test_the_cyclic_rate_rises_one_epoch_and_falls_the_next() -> None:
    phase = CyclicPhase("cyclic", params.Cyclic(epochs=4, half_cycle=1, base_lr=1e-4, max_lr=1e-3), 4)
    rates = [phase.rate(epoch, batch, 4) for epoch in range(4) for batch in range(4)]
    rising = [1e-4 + 9e-4 * share for share in (0, 0.25, 0.5, 0.75)]
    falling = [1e-3 - 9e-4 * share for share in (0, 0.25, 0.5, 0.75)]
    assert rates == pytest.approx([*rising, *falling] * 2)
    slower = CyclicPhase("cyclic", params.Cyclic(epochs=4, half_cycle=2, base_lr=1e-4, max_lr=1e-3), 4)
    rates = [slower.rate(epoch, batch, 2) for epoch in range(4) for batch in range(2)]
    assert rates == pytest.approx([*rising, *falling])


def test_the_rate_falls_to_a_tenth_after_three_epochs_without_a_gain() -> None:
    phase = falling()
    rates = []
    for loss in (1.0, 0.9, 0.89995, 0.9, 0.9, 0.7, 0.7, 0.7, 0.7):
        phase.validated(loss)
        rates.append(phase.rate(0, 0, 1))
    # 0.89995 is lower, but by less than min_delta: no gain.
    assert rates == pytest.approx([1e-4] * 4 + [1e-5] * 3 + [1e-5, 1e-6])


def test_any_new_minimum_keeps_the_phase_going() -> None:
    phase = falling(PLATEAU.model_copy(update={"stop_patience": 3}))
    for loss in (1.0, 1.1, 1.1, 0.99999, 1.0, 1.0):
        phase.validated(loss)
        assert not phase.ended
    phase.validated(1.0)
    assert phase.ended


def test_a_restored_phase_goes_on_as_if_nothing_had_happened() -> None:
    losses = [1.0, 0.95, 0.96, 0.97, 0.98, 0.94, 0.95, 0.96, 0.97, 0.99]
    whole = falling()
    for loss in losses:
        whole.validated(loss)
    for cut in range(len(losses)):
        first, second = (falling() for _ in range(2))
        for loss in losses[:cut]:
            first.validated(loss)
        second.restore(first.state())
        for loss in losses[cut:]:
            second.validated(loss)
        assert vars(second) == vars(whole)
