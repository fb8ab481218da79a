"""What the outage benchmark makes of epochs and metric points."""

from __future__ import annotations

import pytest

from benchmarks.tracking_outage import (
    LEAST_RATIO,
    Epoch,
    Phases,
    faulty_points,
    steps_per_s,
    undisturbed_names,
)

PHASES = Phases(killed_s=100.0, back_s=160.0, settled_s=170.0)
NAMES = ("loss", "epoch")
SOUND = [(name, epoch) for name in NAMES for epoch in (1, 2)]


def epochs_every(seconds: float, *, frozen: tuple[float, float] = (0.0, 0.0)) -> list[Epoch]:
    """Two trials that train from 30 s to 240 s, but for a time in which nothing happens."""
    found = []
    for trial in ("a", "b"):
        at_s, number = 30.0, 0
        while at_s < 240.0:
            at_s, number = at_s + seconds, number + 1
            if frozen[0] <= at_s < frozen[1]:
                at_s += frozen[1] - frozen[0]
            found.append(Epoch(trial, number, at_s))
    return found


def ratio(epochs: list[Epoch]) -> float:
    rates = steps_per_s(epochs, PHASES, steps=40)
    return rates["during"] / rates["before"]


@pytest.mark.parametrize("seconds", [0.9, 1.0, 7.3])
def test_an_outage_that_changes_nothing_has_the_ratio_1(seconds: float) -> None:
    rates = steps_per_s(epochs_every(seconds), PHASES, steps=40)
    assert rates == pytest.approx(dict.fromkeys(("before", "during", "after"), 80 / seconds))


@pytest.mark.parametrize(
    ("frozen", "expected"),
    [((110.0, 150.0), 1 / 3), ((100.0, 160.0), 0.0), ((155.0, 165.0), 55 / 60)],
)
def test_a_freeze_in_the_outage_shows(frozen: tuple[float, float], expected: float) -> None:
    found = ratio(epochs_every(0.5, frozen=frozen))
    assert found == pytest.approx(expected, abs=0.02)
    assert found < LEAST_RATIO


def test_a_search_that_ends_in_the_outage_shows() -> None:
    assert ratio([epoch for epoch in epochs_every(1.0) if epoch.at_s < 130.0]) < 0.5


@pytest.mark.parametrize(
    ("points", "epochs", "fault"),
    [
        (SOUND[1:], 2, ["loss of epoch 1 is missing"]),
        ([*SOUND, SOUND[0]], 2, ["('loss', 1) is there 2 times"]),
        ([*SOUND, ("loss", 3)], 2, ["loss of epoch 3 is surplus"]),
        ([*SOUND, ("other", 1)], 2, ["other of epoch 1 is surplus"]),
        (
            [p for p in SOUND if p[0] != "loss"],
            2,
            [f"loss of epoch {n} is missing" for n in (1, 2)],
        ),
        ([], 1, ["epoch of epoch 1 is missing", "loss of epoch 1 is missing"]),
    ],
)
def test_spoiled_points_are_named(
    points: list[tuple[str, int]], epochs: int, fault: list[str]
) -> None:
    assert faulty_points(points, epochs, names=NAMES) == fault


def test_every_point_once_is_sound() -> None:
    assert faulty_points(SOUND, 2, names=NAMES) == []


def test_what_an_epoch_has_is_learnt_from_before_the_outage() -> None:
    epochs = [Epoch("a", 1, 90.0), Epoch("a", 2, 110.0), Epoch("b", 1, 120.0)]
    points = {"a": [("loss", 1), ("epoch", 1), ("epoch", 2)], "b": [("epoch", 1), ("odd", 1)]}
    assert undisturbed_names(epochs, points, PHASES.killed_s) == {"loss", "epoch"}
    with pytest.raises(ValueError, match="no epoch was shown before the outage"):
        undisturbed_names(epochs[1:], points, PHASES.killed_s)
