"""What pruning saved in a stage (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.records import TrialRecord, TrialState

__all__ = ["Savings", "stage_savings"]


@dataclass(frozen=True)
class Savings:
    """What stopping trials early saved.

    Attributes:
        epochs: Epochs that pruned trials were spared.
        seconds: Their time: of each trial the epochs spared times its own mean time of an epoch.
        planned_epochs: Epochs that the trials of the stage would have taken to their ends; those
            that were taken over from elsewhere are left out, as they cost nothing either way.
    """

    epochs: int = 0
    seconds: float = 0.0
    planned_epochs: int = 0


def stage_savings(trials: Sequence[TrialRecord], epochs: int) -> Savings:
    """Add up what pruning saved.

    Args:
        trials: The trials of a stage.
        epochs: Epochs of a training that is not stopped.
    """
    own = [trial for trial in trials if trial.imported_from is None]
    pruned = [trial for trial in own if trial.state is TrialState.PRUNED]
    return Savings(
        epochs=sum(_spared(trial, epochs) for trial in pruned),
        seconds=sum(_spared(trial, epochs) * _epoch_seconds(trial) for trial in pruned),
        planned_epochs=len(own) * epochs,
    )


def _spared(trial: TrialRecord, epochs: int) -> int:
    return max(0, epochs - trial.epochs)


def _epoch_seconds(trial: TrialRecord) -> float:
    if trial.outcome is None or trial.epochs == 0:
        return 0.0
    return trial.outcome.seconds / trial.epochs
