from __future__ import annotations

from tuner.protocol.savings import Savings, stage_savings
from tuner.records import OutcomeKind, TrialOutcome, TrialRecord, TrialSpec, TrialState


def trial(
    number: int,
    state: TrialState,
    epochs: int,
    *,
    seconds: float = 0.0,
    source: str | None = None,
) -> TrialRecord:
    outcome = TrialOutcome(number, OutcomeKind.STOPPED_EARLY, epochs=epochs, seconds=seconds)
    spec = TrialSpec(base={"epochs": 10}, params={"lr_p": 1e-3}, seed=number)
    return TrialRecord(number, spec, state, epochs=epochs, imported_from=source, outcome=outcome)


def test_a_pruned_trial_saves_what_it_had_before_it_at_its_own_pace() -> None:
    trials = [
        trial(0, TrialState.FINISHED, 10, seconds=100.0),
        trial(1, TrialState.PRUNED, 2, seconds=4.0),
        trial(2, TrialState.PRUNED, 5, seconds=50.0),
        trial(3, TrialState.FAILED, 1, seconds=9.0),
    ]
    assert stage_savings(trials, 10) == Savings(8 + 5, 8 * 2.0 + 5 * 10.0, 40)


def test_what_was_taken_over_saves_nothing_by_pruning() -> None:
    trials = [trial(0, TrialState.PRUNED, 2, seconds=4.0, source="other/1-lr_p#0")]
    assert stage_savings(trials, 10) == Savings(0, 0.0, 0)


def test_without_a_finished_epoch_the_time_is_not_known() -> None:
    assert stage_savings([trial(0, TrialState.PRUNED, 0)], 10) == Savings(10, 0.0, 10)
