"""What the outage benchmark makes of epochs and metric points."""

from __future__ import annotations

import pytest

from benchmarks.tracking_outage import Epoch, Phases, faulty_points, steps_per_s

PHASES = Phases(killed_s=100.0, back_s=160.0, settled_s=170.0)
SOUND = [(name, epoch) for name in ("loss", "epoch") for epoch in (1, 2)]


@pytest.mark.parametrize(
    ("begun_s", "ended_s", "phase"),
    [
        (1.0, 99.9, "before"),
        (99.9, 100.0, None),
        (100.0, 159.9, "during"),
        (160.0, 169.9, "coming back"),
        (170.0, 999.0, "after"),
        (99.0, 171.0, None),
    ],
)
def test_a_span_belongs_to_the_phase_that_it_lies_in(
    begun_s: float, ended_s: float, phase: str | None
) -> None:
    assert PHASES.of(begun_s, ended_s) == phase


def test_rates_are_of_consecutive_epochs_of_one_trial() -> None:
    epochs = [
        *(Epoch("b", 1, 90.0), Epoch("a", 2, 92.0), Epoch("a", 1, 88.0)),
        *(Epoch("a", 4, 110.0), Epoch("a", 5, 120.0)),
    ]
    assert steps_per_s(epochs, PHASES, steps=40) == {"before": [10.0], "during": [4.0]}


@pytest.mark.parametrize(
    ("points", "epochs", "fault"),
    [
        (SOUND[1:], 2, "loss of epoch 1 is missing"),
        ([*SOUND, SOUND[0]], 2, "('loss', 1) is there 2 times"),
        ([*SOUND, ("loss", 3)], 2, "loss of epoch 3 is surplus"),
        ([], 2, "none of 2 epochs is shown"),
    ],
)
def test_spoiled_points_are_named(points: list[tuple[str, int]], epochs: int, fault: str) -> None:
    assert faulty_points(points, epochs) == [fault]


def test_every_point_once_is_sound() -> None:
    assert faulty_points(SOUND, 2) == []
