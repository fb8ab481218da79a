"""What workers tell of their checkpoints: no space, and what was passed over."""

from __future__ import annotations

import logging

import pytest

from tests.tuner.adapters.ray_toys import ListFeed, Recorder, request
from trainables.errors import StorageFullError
from tuner.adapters.ray_bridge import TrialBridge
from tuner.adapters.ray_results import FailureKind, failure_kind, failure_reason
from tuner.errors import RunnerError
from tuner.ports import FeedState
from tuner.records import OutcomeKind

MESSAGE = "cannot write checkpoint /full/ab/last.ckpt: No space left on device; free some"
FULL = f"""Traceback (most recent call last):
  File "trial_run.py", line 3, in _train_epoch
{StorageFullError.__module__}.{StorageFullError.__name__}: {MESSAGE}
"""


def test_a_full_disk_is_told_from_other_errors() -> None:
    assert failure_kind(FULL) is FailureKind.STORAGE_FULL
    assert failure_reason(FULL) == MESSAGE
    other = "trainables.errors.CheckpointError: cannot write checkpoint /x: Permission denied"
    assert failure_kind(other) is FailureKind.ERROR


def test_a_full_disk_stops_the_run_after_the_retries_and_fails_no_trial() -> None:
    seen = Recorder()
    feed = ListFeed([request(0), request(1)])
    bridge = TrialBridge(feed, seen, max_concurrent=2, max_failures=1, devices=1.0)
    for ticket in ("a", "b"):
        bridge.next_request(ticket)
        bridge.started(ticket)
    bridge.failed("a", FULL)
    assert not bridge.aborting
    assert bridge.next_request("c") == request(0), "it may have been for a moment"
    bridge.started("c")
    bridge.failed("c", FULL)

    assert isinstance(bridge.fault, RunnerError)
    assert str(bridge.fault).startswith(f"{MESSAGE}. The run has stopped")
    assert "give the same command again" in str(bridge.fault)
    assert bridge.next_request("d") is FeedState.DONE
    bridge.cancel_rest()
    assert seen.kinds() == {0: OutcomeKind.CANCELLED, 1: OutcomeKind.CANCELLED}


def test_notes_of_a_worker_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bridge = TrialBridge(
        ListFeed([request(0)]), Recorder(), max_concurrent=1, max_failures=0, devices=1.0
    )
    bridge.next_request("a")
    bridge.started("a")
    figures = {"metrics/val_mpjpe_mm": 60.0, "best_epoch": 1, "best_value": 60.0}
    with caplog.at_level(logging.WARNING):
        bridge.progressed("a", {"epoch": 1, **figures, "notes": ["last.ckpt is damaged"]})
        bridge.progressed("a", {"epoch": 2, **figures, "notes": []})
    assert [record.getMessage() for record in caplog.records] == [
        "1-lr_p trial 0: last.ckpt is damaged"
    ]
