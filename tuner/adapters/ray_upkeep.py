"""Keeping Tune's loop small and its workers few, from within its scheduler.

Tune keeps every trial that it ever ran, some 50 KB each, and one idle worker after each pause.
Neither has a public switch. Everything of Tune that is not public and that we reach into stands
here; where a later Ray names it otherwise, nothing breaks: memory grows again, no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.exceptions import RayActorError, RayError, RayTaskError

from tuner.adapters.ray_bridge import TrialBridge
from tuner.adapters.ray_hooks import ObserverScheduler

__all__ = ["TendedScheduler"]

KEPT_TRIALS = 50
"""Ended trials that Tune keeps: what it still does with a trial comes soon after its end, and at
the end of an experiment it wants to find some."""

_COLLECTIONS = ("_stopped_trials", "_failed_trials", "_live_trials", "_trials_to_cache")
_BY_ID = ("_trial_metadata", "_queued_trial_decisions", "_cached_trial_decisions")


class TendedScheduler(ObserverScheduler):
    """An `ObserverScheduler` that also looks after Tune's controller, once in each round.

    Args:
        bridge: See `ObserverScheduler`.
        limit: How many trials may run at once, as of now; asked in every round, so it is quick.
    """

    def __init__(self, bridge: TrialBridge, limit: Callable[[], int]) -> None:
        super().__init__(bridge)
        self._limit = limit

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Leave the choice to Tune's own queue, which is in order; look after Tune instead."""
        controller = getattr(tune_controller, "_tune_controller", None)
        limit = max(1, self._limit())
        self._bridge.max_concurrent = limit
        if controller is not None:
            _understand_every_death(controller)
            _drop_progress_table(controller)
            _allow_pending(controller, limit)
            _forget_ended_trials(controller)
            _let_idle_workers_go(controller, self._bridge.room)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of Tune's files."""
        return {}


def _understand_every_death(controller: Any) -> None:
    """Let a trial fail where Tune would come down as a whole.

    Ray says in its own ways that a worker was killed for want of memory or that its node died;
    Tune knows only the general one.
    """
    manager = getattr(controller, "_actor_manager", None)
    failed = getattr(manager, "_actor_task_failed", None)
    if failed is None or getattr(failed, "knows_every_death", False):
        return

    def translated(tracked_actor_task: Any, exception: Exception) -> None:
        known = RayActorError, RayTaskError
        if isinstance(exception, RayError) and not isinstance(exception, known):
            text = f"The actor died: {type(exception).__name__}: {exception}"
            exception = RayActorError(error_msg=text)
        failed(tracked_actor_task, exception)

    translated.knows_every_death = True  # type: ignore[attr-defined]
    manager._actor_task_failed = translated  # type: ignore[union-attr]


def _allow_pending(controller: Any, limit: int) -> None:
    """Let as many trials wait for a worker as may run: Tune reads the number only once."""
    update = getattr(controller, "update_max_pending_trials", None)
    if update is not None:
        update(limit)


def _drop_progress_table(controller: Any) -> None:
    """Take out the callback that Tune adds for its table: it prints nothing, and keeps trials."""
    callbacks = getattr(getattr(controller, "_callbacks", None), "_callbacks", None)
    if isinstance(callbacks, list):
        callbacks[:] = [c for c in callbacks if type(c).__name__ != "TrialProgressCallback"]


def _forget_ended_trials(controller: Any) -> None:
    trials = getattr(controller, "_trials", None)
    if not isinstance(trials, list) or len(trials) < 2 * KEPT_TRIALS:
        return
    ended = [trial for trial in trials if trial.is_finished()][:-KEPT_TRIALS]
    if len(ended) < KEPT_TRIALS:
        return
    forgotten = set(ended)
    # in place: others hold the list
    trials[:] = [trial for trial in trials if trial not in forgotten]
    for name in _COLLECTIONS:
        getattr(controller, name, set()).difference_update(forgotten)
    for name in _BY_ID:
        table = getattr(controller, name, {})
        for trial in ended:
            table.pop(trial.trial_id, None)


def _let_idle_workers_go(controller: Any, room: int) -> None:
    """Free what an idle worker holds, if no trial may be started on it."""
    cache = getattr(controller, "_actor_cache", None)
    clean = getattr(controller, "_cleanup_cached_actors", None)
    pending = getattr(controller, "_pending_trials", None)
    if cache is None or clean is None or pending is None:
        return
    if cache.num_cached_objects > max(0, room) + len(pending):
        clean(force_all=True)
