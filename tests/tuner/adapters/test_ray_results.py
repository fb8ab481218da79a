from __future__ import annotations

import math
from typing import Any

import pytest

from tuner.adapters.ray_results import (
    Attempts,
    Cancelled,
    Completed,
    End,
    Failed,
    Invalid,
    Progress,
    Stopped,
    failure_reason,
    plain_text,
    to_outcome,
)
from tuner.errors import RunnerError
from tuner.records import OutcomeKind, TrialRequest, TrialSpec

REQUEST = TrialRequest("1-lr_p", 7, TrialSpec({"epochs": 3}, {"lr_p": 1e-4}, seed=0))
FLAT: dict[str, Any] = {
    "epoch": 3,
    "metrics/val_mpjpe_mm": 61.0,
    "metrics/train_loss": 0.5,
    "history": [{"epoch": 1, "metrics": {"val_mpjpe_mm": 70.0}}],
    "finished": True,
    "best_epoch": 2,
    "best_value": 60.0,
    "best_metrics/val_mpjpe_mm": 60.0,
    "checkpoint": "/checkpoints/best.ckpt",
    "device_seconds": 12.0,
    "node": "host",
    "done": False,
    "time_total_s": 9.9,
}
DEAD_WORKER = """The actor died unexpectedly before finishing this task.
\tclass_name: SealTrainable
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit
detail: Some common causes include: (1) the process was killed by the OOM killer due to high
memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly.
"""


def attempts(progress: Progress | None, count: int = 1) -> Attempts:
    return Attempts(count, seconds=4.0, devices=2.0, progress=progress)


def test_a_flat_result_is_read_back_into_its_parts() -> None:
    progress = Progress.from_result(FLAT)

    assert progress.epoch == 3
    assert progress.metrics == {"val_mpjpe_mm": 61.0, "train_loss": 0.5}
    assert progress.history == ((1, {"val_mpjpe_mm": 70.0}),)
    assert progress.best_metrics == {"val_mpjpe_mm": 60.0}
    assert progress.finished
    assert progress.fault() == ""


def test_a_result_without_epoch_is_refused_by_name() -> None:
    with pytest.raises(RunnerError, match=r"reported no 'epoch', only \['loss'\]"):
        Progress.from_result({"loss": 1.0})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"metrics/val_mpjpe_mm": math.nan}, "val_mpjpe_mm is nan in epoch 3"),
        ({"metrics/train_loss": math.inf}, "train_loss is inf in epoch 3"),
        ({"history": [{"epoch": 1, "metrics": {"x": -math.inf}}]}, "x is -inf in epoch 1"),
        ({"best_value": None}, "no finite objective after 3 epochs"),
        ({"best_value": -math.inf}, "no finite objective after 3 epochs"),
        ({"state": "invalid_metric", "reason": "loss broke"}, "loss broke"),
        ({"state": "invalid_metric"}, "ended in state 'invalid_metric'"),
    ],
)
def test_what_cannot_win_is_told_apart(change: dict[str, Any], fault: str) -> None:
    assert fault in Progress.from_result({**FLAT, **change}).fault()


@pytest.mark.parametrize(
    ("end", "kind", "value", "reason"),
    [
        (Completed(), OutcomeKind.COMPLETED, 60.0, ""),
        (Stopped(), OutcomeKind.STOPPED_EARLY, 60.0, "stopped after epoch 3"),
        (Invalid("x is nan"), OutcomeKind.INVALID_METRIC, None, "x is nan"),
        (Failed("Traceback\nValueError: no"), OutcomeKind.FAILED, None, "ValueError: no"),
        (Cancelled("interrupted"), OutcomeKind.CANCELLED, None, "interrupted"),
    ],
)
def test_every_end_maps_to_its_outcome(
    end: End, kind: OutcomeKind, value: float | None, reason: str
) -> None:
    outcome = to_outcome(REQUEST, attempts(Progress.from_result(FLAT), count=2), end)

    assert (outcome.trial, outcome.kind, outcome.value) == (7, kind, value)
    assert outcome.reason == reason
    assert outcome.epochs == 3
    assert outcome.attempts == 2
    assert outcome.device_seconds == 12.0
    assert outcome.seconds == 6.0, "4 s of this driver, and what an earlier one trained"
    assert (outcome.checkpoint is None) == (value is None)
    assert outcome.metrics == ({} if value is None else {"val_mpjpe_mm": 60.0})


def test_a_trial_that_never_reported_has_an_outcome_too() -> None:
    outcome = to_outcome(REQUEST, attempts(None), Failed(DEAD_WORKER))

    assert outcome.epochs == 0
    assert (outcome.seconds, outcome.device_seconds) == (4.0, 8.0)
    assert outcome.reason == "the worker process died (killed from outside, or crashed)"
    assert outcome.traceback == DEAD_WORKER


@pytest.mark.parametrize(
    ("traceback", "reason"),
    [
        ("Traceback:\n  File x\ntorch.cuda.OutOfMemoryError: 2 GiB\n", "torch.cuda.OutOfMemory"),
        ("Traceback:\n  KeyError: 'x'\n\nduring\n  DataError: no file\n", "DataError: no file"),
        ("Task was killed due to the node running low on memory.\n", "ran out of memory"),
        (DEAD_WORKER, "the worker process died"),
        ("something odd", "something odd"),
        ("", "without saying why"),
    ],
)
def test_a_failure_is_put_into_one_line(traceback: str, reason: str) -> None:
    assert reason in failure_reason(traceback)
    assert "\n" not in failure_reason(traceback)


def test_terminal_colours_are_removed() -> None:
    assert plain_text("\x1b[36mray::step()\x1b[39m\n") == "ray::step()"
