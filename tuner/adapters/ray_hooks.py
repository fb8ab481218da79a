"""Tune's searcher, scheduler, callback and stopper, each passing on to the bridge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuner.adapters.ray_bridge import TrialBridge
from tuner.adapters.ray_results import plain_text
from tuner.ports import FeedState
from tuner.records import TrialRequest

__all__ = ["AbortStopper", "FeedSearcher", "ObserverCallback", "ObserverScheduler"]


class FeedSearcher(Searcher):
    """Gives Tune the requests of a feed.

    Args:
        bridge: Who knows the next request.
        to_config: Turns a request into the trainable's configuration.
    """

    def __init__(
        self, bridge: TrialBridge, to_config: Callable[[TrialRequest], dict[str, Any]]
    ) -> None:
        super().__init__()
        self._bridge = bridge
        self._to_config = to_config

    def __getstate__(self) -> dict[str, Any]:
        """Leave the runner, and the data set that it holds, out of Tune's files."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Give the next configuration, None to be asked again, or FINISHED."""
        answer = self._bridge.next_request(trial_id)
        match answer:
            case TrialRequest():
                return self._to_config(answer)
            case FeedState.WAIT | FeedState.WAIT_FOR_REPORT:
                return None
            case FeedState.DONE:
                return str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: ends come through the callback, which knows the traceback."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study store is the only state (Tune insists on a save)."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: an experiment is never restored."""


class ObserverScheduler(FIFOScheduler):
    """Shows every result to the observer and follows its decision."""

    def __init__(self, bridge: TrialBridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide after an epoch; `result` is flat."""
        stop = self._bridge.progressed(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class ObserverCallback(tune.Callback):
    """Tells the bridge about starts and ends of trials."""

    def __init__(self, bridge: TrialBridge) -> None:
        self._bridge = bridge
        self._trials: list[Any] = []

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Remember Tune's own list of trials, for `kill_workers`."""
        self._trials = trials

    def kill_workers(self) -> None:
        """End all workers at once.

        Tune would wait for the running epochs without end. Checkpoints are written after every
        epoch, so that nothing but the begun epoch is lost, and a job that is being stopped has
        little time before it is killed itself.
        """
        for trial in self._trials:
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker took the trial up."""
        self._bridge.started(trial.trial_id)

    def on_trial_complete(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """The trial was stopped, by itself or by the scheduler."""
        self._bridge.ended(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker raised or died."""
        path = trial.error_file
        text = Path(path).read_text(encoding="utf-8", errors="replace") if path else ""
        # the first line is Tune's count of failures
        self._bridge.failed(trial.trial_id, plain_text(text.partition("\n")[2]))


class AbortStopper(tune.Stopper):
    """Ends the experiment when the bridge is aborting: records first, then workers."""

    def __init__(self, bridge: TrialBridge, callback: ObserverCallback) -> None:
        self._bridge = bridge
        self._callback = callback

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial: that is the scheduler's."""
        return False

    def stop_all(self) -> bool:
        """Whether all have to stop; Tune asks in each round, and no more after a yes."""
        if not self._bridge.aborting or self._bridge.finishing:
            return False
        self._bridge.cancel_rest()
        self._callback.kill_workers()
        return True
