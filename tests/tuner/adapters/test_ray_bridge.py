"""The bridge, driven by hand as Tune would drive it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.tuner.adapters.ray_toys import ListFeed, Recorder, request
from tuner.adapters.ray_bridge import TrialBridge
from tuner.errors import RunnerError
from tuner.ports import Decision, FeedState, TrialFeed
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest

FIRST, SECOND = request(0), request(1)


def bridge_of(feed: TrialFeed, observer: Recorder, **options: Any) -> TrialBridge:
    settings = {"max_concurrent": 2, "max_failures": 1, "devices": 1.0}
    return TrialBridge(feed, observer, **{**settings, **options})


def result(epoch: int, *, epochs: int = 3, value: float = 60.0, **more: Any) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "metrics/val_mpjpe_mm": value,
        "finished": epoch >= epochs,
        "best_epoch": epoch,
        "best_value": value,
        "best_metrics/val_mpjpe_mm": value,
        **more,
    }


def test_a_trial_runs_from_request_to_outcome() -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST]), seen)

    assert bridge.next_request("a") == FIRST
    bridge.started("a")
    assert [bridge.progressed("a", result(epoch)) for epoch in (1, 2, 3)] == [False, False, True]
    bridge.ended("a")

    assert seen.starts == [(0, 1)]
    assert seen.epochs == [(0, 1), (0, 2), (0, 3)]
    assert seen.kinds() == {0: OutcomeKind.COMPLETED}
    assert bridge.next_request("b") is FeedState.DONE


def test_no_more_trials_are_given_than_may_run_at_once() -> None:
    bridge = bridge_of(ListFeed([FIRST, SECOND]), Recorder(), max_concurrent=1)

    assert bridge.next_request("a") == FIRST
    assert bridge.next_request("b") is FeedState.WAIT


def test_done_waits_for_running_trials_since_they_may_need_another_attempt() -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST]), seen)
    bridge.next_request("a")
    bridge.started("a")
    assert bridge.next_request("b") is FeedState.WAIT

    bridge.failed("a", "ValueError: broke")
    assert seen.outcomes == {}
    assert bridge.next_request("c") == FIRST
    bridge.started("c")
    bridge.progressed("c", result(3))
    bridge.ended("c")

    assert seen.starts == [(0, 1), (0, 2)]
    assert seen.outcomes[0].kind is OutcomeKind.COMPLETED
    assert seen.outcomes[0].attempts == 2


def test_attempts_run_out() -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST]), seen, max_failures=1)
    for ticket in ("a", "b"):
        assert bridge.next_request(ticket) == FIRST
        bridge.started(ticket)
        bridge.failed(ticket, "Traceback\nValueError: broke")

    assert seen.outcomes[0].kind is OutcomeKind.FAILED
    assert seen.outcomes[0].attempts == 2
    assert seen.outcomes[0].reason == "ValueError: broke"
    assert seen.ends == 1
    assert bridge.next_request("c") is FeedState.DONE


def test_a_worker_that_dies_before_it_started_is_announced_before_its_end() -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST]), seen, max_failures=0)
    bridge.next_request("a")
    bridge.failed("a", "RuntimeError: setup broke")

    assert seen.starts == [(0, 1)]
    assert seen.kinds() == {0: OutcomeKind.FAILED}


def test_a_waiting_feed_is_asked_again_only_after_an_end() -> None:
    seen = Recorder()
    feed = ListFeed([FIRST, SECOND], batch=1)
    feed.ended = lambda: seen.ends
    bridge = bridge_of(feed, seen)
    bridge.next_request("a")
    bridge.started("a")
    for _ in range(50):
        assert bridge.next_request("b") is FeedState.WAIT
    assert feed.waits == 1

    bridge.progressed("a", result(3))
    bridge.ended("a")
    assert bridge.next_request("b") == SECOND


def test_a_feed_that_waits_for_nothing_is_reported_instead_of_hanging() -> None:
    class Stuck:
        def next_request(self) -> TrialRequest | FeedState:
            return FeedState.WAIT

    bridge = bridge_of(Stuck(), Recorder())

    assert bridge.next_request("a") is FeedState.DONE
    with pytest.raises(RunnerError, match="waits for a trial to end, but none is running"):
        raise bridge.fault or AssertionError("no fault")


def test_the_observer_can_stop_a_trial_but_not_one_that_has_just_finished() -> None:
    seen = Recorder(stops={0: 2, 1: 3})
    bridge = bridge_of(ListFeed([FIRST, SECOND]), seen)
    for ticket, last in (("a", 2), ("b", 3)):
        bridge.next_request(ticket)
        bridge.started(ticket)
        stops = [bridge.progressed(ticket, result(epoch)) for epoch in range(1, last + 1)]
        assert stops == [False] * (last - 1) + [True]
        bridge.ended(ticket)

    assert seen.kinds() == {0: OutcomeKind.STOPPED_EARLY, 1: OutcomeKind.COMPLETED}
    assert seen.outcomes[0].epochs == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_metric_ends_the_trial_and_is_not_reported(value: float) -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST]), seen)
    bridge.next_request("a")
    bridge.started("a")
    assert not bridge.progressed("a", result(1))
    assert bridge.progressed("a", result(2, value=value))
    bridge.ended("a")

    assert seen.epochs == [(0, 1)]
    assert seen.outcomes[0].kind is OutcomeKind.INVALID_METRIC
    assert "in epoch 2" in seen.outcomes[0].reason
    assert seen.outcomes[0].value is None


def test_a_resumed_trial_reports_the_epochs_that_were_missed_in_order() -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST]), seen)
    bridge.next_request("a")
    bridge.started("a")
    history = [{"epoch": e, "metrics": {"val_mpjpe_mm": 60.0 + e}} for e in (1, 2)]
    bridge.progressed("a", result(2, value=62.0, history=history))
    bridge.progressed("a", result(3))

    assert seen.epochs == [(0, 1), (0, 2), (0, 3)]
    assert seen.metrics[0, 1] == {"val_mpjpe_mm": 61.0}


class Broken(Recorder):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.error = OSError(f"{where} is broken")

    def on_start(self, request: TrialRequest, *, attempt: int) -> None:
        super().on_start(request, attempt=attempt)
        if self.where == "start":
            raise self.error

    def on_epoch(self, stage: str, report: EpochReport) -> Decision:
        if self.where == "epoch":
            raise self.error
        return super().on_epoch(stage, report)

    def on_end(self, stage: str, outcome: TrialOutcome) -> None:
        super().on_end(stage, outcome)
        if self.where == "end" and outcome.kind is not OutcomeKind.CANCELLED:
            raise self.error


@pytest.mark.parametrize("where", ["start", "epoch", "end"])
def test_an_error_of_the_observer_is_kept_and_everything_stops(where: str) -> None:
    seen = Broken(where)
    bridge = bridge_of(ListFeed([FIRST, SECOND]), seen)
    bridge.next_request("a")
    bridge.next_request("b")
    bridge.started("a")
    bridge.started("b")
    bridge.progressed("a", result(3))
    bridge.ended("a")

    assert bridge.fault is seen.error
    assert bridge.aborting
    assert bridge.progressed("b", result(1))
    assert bridge.next_request("c") is FeedState.DONE
    bridge.cancel_rest()
    ends = {trial: outcome.kind.value for trial, outcome in sorted(seen.outcomes.items())}
    assert (
        ends
        == {
            # the second trial was never shown as started
            "start": {0: "cancelled"},
            "epoch": {0: "cancelled", 1: "cancelled"},
            "end": {0: "completed", 1: "cancelled"},
        }[where]
    )
    assert seen.ends == len(ends)


def test_an_interruption_cancels_what_runs_and_keeps_what_has_ended() -> None:
    interrupted = False
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST, SECOND]), seen, interrupted=lambda: interrupted)
    for ticket in ("a", "b"):
        bridge.next_request(ticket)
        bridge.started(ticket)
    bridge.progressed("a", result(3))
    interrupted = True
    bridge.ended("a")
    bridge.failed("b", "the worker was killed")
    bridge.cancel_rest()

    assert seen.kinds() == {0: OutcomeKind.COMPLETED, 1: OutcomeKind.CANCELLED}
    assert bridge.cancelled == 1
    assert bridge.next_request("c") is FeedState.DONE


def test_epochs_that_run_when_interrupted_are_finished_and_kept() -> None:
    interrupted = False
    seen = Recorder()
    bridge = bridge_of(
        *(ListFeed([FIRST, SECOND]), seen),
        interrupted=lambda: interrupted,
        grace_s=lambda: 60.0,
    )

    def waits() -> bool:
        return bridge.finishing

    for ticket in ("a", "b"):
        bridge.next_request(ticket)
        bridge.started(ticket)
    assert not waits()
    interrupted = True
    assert waits()
    assert bridge.next_request("c") is FeedState.DONE
    assert bridge.progressed("a", result(1)), "no further epoch"
    bridge.ended("a")
    assert waits(), "the epoch of the other one still runs"
    assert bridge.progressed("b", result(3))
    bridge.ended("b")
    assert not waits()
    bridge.cancel_rest()

    assert seen.epochs == [(0, 1), (1, 3)]
    assert seen.kinds() == {0: OutcomeKind.CANCELLED, 1: OutcomeKind.COMPLETED}


def test_nobody_waits_for_epochs_without_grace_or_for_workers_that_died() -> None:
    interrupted, grace_s = False, 0.0
    bridge = bridge_of(
        *(ListFeed([FIRST]), Recorder()),
        interrupted=lambda: interrupted,
        grace_s=lambda: grace_s,
    )

    def waits() -> bool:
        return bridge.finishing

    bridge.next_request("a")
    bridge.started("a")
    interrupted = True
    assert not waits()
    grace_s = 60.0
    assert waits()
    bridge.failed("a", "the worker was killed")
    assert not waits()


def test_a_trial_that_waits_for_its_next_attempt_is_cancelled_too() -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([FIRST, SECOND]), seen)
    bridge.next_request("a")
    bridge.started("a")
    bridge.failed("a", "ValueError: broke")
    bridge.cancel_rest()

    assert seen.kinds() == {0: OutcomeKind.CANCELLED}
    assert bridge.cancelled == 1


def test_reports_of_unknown_trials_change_nothing() -> None:
    seen = Recorder()
    bridge = bridge_of(ListFeed([]), seen)
    bridge.started("x")
    bridge.ended("x")
    bridge.failed("x", "late")

    assert bridge.progressed("x", result(1))
    assert (seen.starts, seen.epochs, seen.outcomes) == ([], [], {})
