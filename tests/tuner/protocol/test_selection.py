"""Who wins: ties, failures, and the reason that is given."""

from __future__ import annotations

import pytest

from tuner.protocol.selection import best_trial, close_stage, format_value
from tuner.records import TrialRecord, TrialSpec, TrialState


def trial(
    number: int,
    value: float | None,
    *,
    lr_l: float = 1e-4,
    epochs: int = 5,
    state: TrialState = TrialState.FINISHED,
) -> TrialRecord:
    spec = TrialSpec(base={}, params={"lr_l": lr_l, "alpha": number * 1e-3}, seed=number)
    return TrialRecord(number, spec, state, value=value, epochs=epochs)


def test_lowest_value_wins() -> None:
    winner = best_trial([trial(0, 70.0), trial(1, 62.0), trial(2, 65.0)])
    assert winner is not None
    assert winner.number == 1


def test_ties_go_to_fewer_epochs_then_to_the_lower_number() -> None:
    trials = [trial(0, 62.0, epochs=9), trial(2, 62.0, epochs=5), trial(1, 62.0, epochs=5)]
    winner = best_trial(trials)
    assert winner is not None
    assert winner.number == 1


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING])
def test_only_finished_trials_can_win(state: TrialState) -> None:
    assert best_trial([trial(0, 1.0, state=state)]) is None


def test_reason_compares_with_the_best_other_value_of_what_is_kept() -> None:
    trials = [
        trial(0, 62.0, lr_l=1e-4),
        trial(1, 62.1, lr_l=1e-4),  # same lr_l: not the rival
        trial(2, 62.5, lr_l=5e-5),
        trial(3, None, lr_l=2e-4, state=TrialState.FAILED),
    ]
    result = close_stage("2-lr_l", ("lr_l",), trials)
    assert result.winner == 0
    assert result.reason == (
        "stage 2-lr_l closed: 3 of 4 finished; lr_l = 1e-4 wins with 62.000 mm, "
        "by 0.500 mm over lr_l = 5e-5"
    )


def test_reason_without_a_rival_says_so() -> None:
    result = close_stage("1-lr_p", ("lr_l",), [trial(0, 66.4)])
    assert "no other value of lr_l finished" in result.reason


def test_stage_without_finished_trials_cannot_be_closed() -> None:
    with pytest.raises(ValueError, match="'1-lr_p' has no finished trial"):
        close_stage("1-lr_p", ("lr_l",), [trial(0, None, state=TrialState.FAILED)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1e-4, "1e-4"), (0.0025, "2.5e-3"), (0.05, "5e-2"), (0.1, "0.1"), (0.25, "0.25")),
        *((0.0, "0"), (3, "3"), (12.0, "12"), (9999.0, "9999"), (20000.0, "2e4")),
    ],
)
def test_values_are_written_short(value: float, text: str) -> None:
    assert format_value(value) == text
