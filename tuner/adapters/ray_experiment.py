"""One disposable experiment of Ray Tune, with everything off that would keep a second truth."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray import tune

from tuner.adapters.ray_bridge import TrialBridge
from tuner.adapters.ray_hooks import AbortStopper, FeedSearcher, ObserverCallback
from tuner.adapters.ray_session import changed_environment
from tuner.adapters.ray_upkeep import TendedScheduler
from tuner.adapters.ray_watch import ClusterWatch
from tuner.records import TrialRequest

__all__ = ["build_tuner", "quiet_tune"]


def build_tuner(
    trainable: Any,
    bridge: TrialBridge,
    to_config: Callable[[TrialRequest], dict[str, Any]],
    folder: Path,
    watch: ClusterWatch,
) -> Any:
    """A `tune.Tuner` that runs what a bridge gives it, and keeps nothing.

    Args:
        trainable: Runs a trial, with what it holds.
        bridge: Who gives requests and takes reports.
        to_config: Turns a request into the trainable's configuration.
        folder: Where Tune may write; of no use afterwards.
        watch: Knows how many trials may run at once.
    """
    callback = ObserverCallback(bridge)
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=FeedSearcher(bridge, to_config),
            scheduler=TendedScheduler(bridge, watch.limit),
            num_samples=-1,
            reuse_actors=True,
            # Tune's own names hold the hyperparameters
            trial_name_creator=_short_name,
            trial_dirname_creator=_short_name,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0, checkpoint_at_end=False
            ),
            stop=AbortStopper(bridge, callback),
            callbacks=[callback],
            verbose=0,
        ),
    )


def _short_name(trial: Any) -> str:
    return str(trial.trial_id)


@contextlib.contextmanager
def quiet_tune(pending: int) -> Iterator[None]:
    """Keep Tune from logging, saving and handling signals; let it start `pending` workers."""
    settings = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
        "TUNE_MAX_PENDING_TRIALS_PG": str(pending),
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        # the newer output prints a table at any verbosity; standard output is not Tune's
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    tune_logger = logging.getLogger("ray.tune")
    level = tune_logger.level
    tune_logger.setLevel(logging.CRITICAL)
    try:
        with changed_environment(settings):
            yield
    finally:
        tune_logger.setLevel(level)
