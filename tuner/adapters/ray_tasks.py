"""Single tasks of Ray that the driver waits for: evaluations, and a pre-training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import ray

from tuner.adapters.ray_results import failure_reason, plain_text
from tuner.adapters.ray_signals import SignalGuard
from tuner.errors import RunInterruptedError, RunnerError

__all__ = ["metrics_of", "result_of", "wait_for"]

logger = logging.getLogger(__name__)

_POLL_S = 0.2


def wait_for(
    futures: list[Any],
    guard: SignalGuard,
    interrupted: str,
    *,
    meanwhile: Callable[[], None] | None = None,
    done: Callable[[Any], None] | None = None,
) -> None:
    """Wait for all tasks.

    Args:
        futures: The tasks.
        guard: Who hears signals.
        interrupted: Where a signal came in between, for the message.
        meanwhile: Called every now and then.
        done: Called with each task that has ended, also when a signal has come.

    Raises:
        RunInterruptedError: After SIGINT or SIGTERM; what still runs is cancelled.
    """
    waiting = futures
    while waiting:
        if meanwhile is not None:
            meanwhile()
        signal_number = guard.signal_number
        pause_s = _POLL_S if signal_number is None else 0
        ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=pause_s)
        if signal_number is not None:
            # Only what still runs: Ray 2.60 aborts the process when it is told to cancel a task
            # whose answer is on its way.
            for future in waiting:
                ray.cancel(future)
        if done is not None:
            for future in ready:
                done(future)
        if signal_number is not None:
            raise RunInterruptedError(
                signal_number,
                f"interrupted by {guard.signal_name} {interrupted}; give the same command again",
            )


def metrics_of(future: Any, checkpoint: str) -> dict[str, float]:
    """Metrics of an evaluation that has ended; its notes are logged.

    Raises:
        RunnerError: If it failed; the message names the checkpoint.
    """
    found = result_of(future, f"cannot evaluate the checkpoint {checkpoint}")
    for note in found["notes"]:
        logger.warning("%s", note)
    return {name: float(value) for name, value in found["metrics"].items()}


def result_of(future: Any, failure: str) -> Any:
    """The result of a task.

    Raises:
        RunnerError: If it failed: `failure`, and why.
    """
    try:
        return ray.get(future)
    except ray.exceptions.RayError as error:
        reason = failure_reason(plain_text(str(error)))
        raise RunnerError(f"{failure}: {reason}") from error
