"""Trials that wait at a rung without a worker, as the bridge sees them."""

from __future__ import annotations

from collections import deque

import pytest

from tests.tuner.adapters.ray_toys import Recorder, request
from tests.tuner.adapters.test_ray_bridge import bridge_of, result
from tuner.ports import Decision, FeedState
from tuner.records import EpochReport, OutcomeKind, TrialRequest

FIRST, SECOND = request(0), request(1)


class Rung(Recorder):
    """Feed and observer: who comes to epoch 1 is parked until `opened`."""

    def __init__(self, requests: list[TrialRequest]) -> None:
        super().__init__()
        self.queue = deque(requests)
        self.opened = False
        self.asked = 0

    def next_request(self) -> TrialRequest | FeedState:
        self.asked += 1
        if not self.queue:
            return FeedState.WAIT_FOR_REPORT
        return self.queue.popleft()

    def on_epoch(self, stage: str, report: EpochReport) -> Decision:
        super().on_epoch(stage, report)
        if report.epoch > 1 or self.opened:
            return Decision.CONTINUE
        return Decision.PARK

    def open(self, *requests: TrialRequest) -> None:
        self.opened = True
        self.queue.extend(requests)


def test_a_parked_trial_leaves_its_place_and_has_not_ended() -> None:
    rung = Rung([FIRST, SECOND])
    bridge = bridge_of(rung, rung, max_concurrent=1)
    assert bridge.next_request("a") == FIRST
    bridge.started("a")
    assert bridge.next_request("b") is FeedState.WAIT
    assert bridge.progressed("a", result(1)) is True
    bridge.ended("a")

    assert rung.ends == 0
    assert bridge.next_request("b") == SECOND


def test_a_parked_trial_that_is_given_again_goes_on_in_the_same_attempt() -> None:
    rung = Rung([FIRST, SECOND])
    bridge = bridge_of(rung, rung)
    for ticket in ("a", "b"):
        bridge.next_request(ticket)
        bridge.started(ticket)
    bridge.progressed("a", result(1))
    bridge.ended("a")
    rung.open(FIRST)
    assert bridge.progressed("b", result(1)) is False
    assert bridge.next_request("c") == FIRST
    bridge.started("c")
    history = [{"epoch": 1, "metrics": {"val_mpjpe_mm": 60.0}}]
    assert bridge.progressed("c", result(1, history=history)) is False
    assert bridge.progressed("c", result(3)) is True
    bridge.ended("c")

    assert rung.starts == [(0, 1), (1, 1)]
    assert rung.outcomes[0].kind is OutcomeKind.COMPLETED
    assert rung.outcomes[0].attempts == 1


def test_a_worker_that_dies_after_the_rung_costs_an_attempt_as_before_it() -> None:
    rung = Rung([FIRST])
    bridge = bridge_of(rung, rung, max_failures=1)
    bridge.next_request("a")
    bridge.started("a")
    bridge.failed("a", "ValueError: broke")
    bridge.next_request("b")
    bridge.started("b")
    bridge.progressed("b", result(1))
    bridge.ended("b")
    rung.open(FIRST)
    bridge.next_request("c")
    bridge.started("c")
    bridge.failed("c", "ValueError: broke")

    assert rung.outcomes[0].kind is OutcomeKind.FAILED
    assert rung.outcomes[0].attempts == 2


def test_a_feed_that_waits_for_a_report_is_asked_again_after_one() -> None:
    rung = Rung([FIRST])
    rung.opened = True
    bridge = bridge_of(rung, rung)
    bridge.next_request("a")
    bridge.started("a")
    for _ in range(50):
        assert bridge.next_request("b") is FeedState.WAIT
    assert rung.asked == 2

    rung.open(SECOND)
    assert bridge.next_request("b") is FeedState.WAIT
    bridge.progressed("a", result(1))
    assert bridge.next_request("b") == SECOND


def test_a_finished_training_is_not_parked() -> None:
    rung = Rung([FIRST])
    bridge = bridge_of(rung, rung)
    bridge.next_request("a")
    bridge.started("a")
    assert bridge.progressed("a", result(1, epochs=1)) is True
    bridge.ended("a")

    assert rung.kinds() == {0: OutcomeKind.COMPLETED}


@pytest.mark.parametrize("let_go", [False, True])
def test_an_interrupted_run_cancels_parked_trials(let_go: bool) -> None:
    signals: list[int] = []
    rung = Rung([FIRST, SECOND])
    bridge = bridge_of(rung, rung, interrupted=lambda: bool(signals))
    for ticket in ("a", "b"):
        bridge.next_request(ticket)
        bridge.started(ticket)
    bridge.progressed("a", result(1))
    if let_go:
        bridge.ended("a")
    signals.append(2)
    bridge.cancel_rest()

    assert rung.kinds() == {0: OutcomeKind.CANCELLED, 1: OutcomeKind.CANCELLED}
    assert bridge.cancelled == 2


def test_a_parked_trial_stays_parked_when_tune_itself_comes_down() -> None:
    rung = Rung([FIRST, SECOND])
    bridge = bridge_of(rung, rung)
    for ticket in ("a", "b"):
        bridge.next_request(ticket)
        bridge.started(ticket)
    bridge.progressed("a", result(1))
    assert bridge.take_back() == 2
    assert bridge.next_request("c") == SECOND
    bridge.started("c")
    assert bridge.next_request("d") is FeedState.WAIT

    rung.open(FIRST)
    bridge.progressed("c", result(1))
    assert bridge.next_request("d") == FIRST
    assert rung.starts == [(0, 1), (1, 1), (1, 2)]
