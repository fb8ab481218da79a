"""Keeping Tune's loop small and its workers few, from within its scheduler.

Tune keeps every trial that it ever ran, some 50 KB each, and one idle worker after each pause.
Neither has a public switch. Everything of Tune that is not public and that we reach into stands
here; where a later Ray names it otherwise, nothing breaks: memory grows again, no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
            _allow_pending(controller, limit)
            _forget_ended_trials(controller)
            _let_idle_workers_go(controller, self._bridge.room)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of Tune's files."""
        return {}


def _allow_pending(controller: Any, limit: int) -> None:
    """Let as many trials wait for a worker as may run: Tune reads the number only once."""
    update = getattr(controller, "update_max_pending_trials", None)
    if update is not None:
        update(limit)


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
