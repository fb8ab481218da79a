"""What a progress view knows: how far the stage is, how fast, and how good (pure)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest

__all__ = ["OBJECTIVE", "ProgressState", "Snapshot"]

OBJECTIVE = "val_mpjpe_mm"
RATE_WINDOW = 64
"""Epochs that the present speed is measured over."""


@dataclass(frozen=True)
class Snapshot:
    """The state at one moment.

    Attributes:
        stage: Name of the stage; empty before the first.
        planned: Trials of the stage.
        done: Trials that have ended, failed ones among them.
        running: Trials on workers; those that wait at a rung for others are not.
        failed: Trials that ended without a result, as far as this process saw.
        epochs_done: Epochs of the stage that this process saw.
        epochs_left: Epochs until the stage ends, as far as it is known.
        epochs_per_s: Present speed over all workers; None before it can be measured.
        seconds_left: Time until the stage ends; None before it can be estimated.
        best_mm: Lowest objective of the stage so far.
        baseline_mm: Lowest objective of the first stage; None within it.
    """

    stage: str
    planned: int
    done: int
    running: int
    failed: int
    epochs_done: int
    epochs_left: int | None
    epochs_per_s: float | None
    seconds_left: float | None
    best_mm: float | None
    baseline_mm: float | None


@dataclass
class _Stage:
    name: str
    planned: int
    done: int
    failed: int = 0
    epochs_done: int = 0
    epochs_per_trial: int = 0
    epoch_of_trial: dict[int, int] = field(default_factory=dict)
    parked: set[int] = field(default_factory=set)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_WINDOW))


class ProgressState:
    """Collects what an engine's listener hears; safe to read from another thread.

    Args:
        clock: Seconds from anywhere, never going back.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._stage: _Stage | None = None
        self._best_mm: dict[str, float] = {}

    def know_best(self, best_mm: Mapping[str, float]) -> None:
        """Take over the best objective of each stage, in order; the first is the baseline."""
        with self._lock:
            self._best_mm |= best_mm

    def open_stage(self, stage: str, *, planned: int, done: int) -> bool:
        """A stage was opened, or has got more trials; True the first time."""
        with self._lock:
            if self._stage is not None and self._stage.name == stage:
                self._stage.planned, self._stage.done = planned, done
                return False
            self._stage = _Stage(stage, planned, done)
            return True

    def start_trial(self, request: TrialRequest) -> None:
        """A worker took up a trial, or took it up again."""
        with self._lock:
            if self._stage is not None:
                self._stage.epoch_of_trial.setdefault(request.trial, 0)
                epochs = request.spec.base.get("epochs")
                if isinstance(epochs, int):
                    self._stage.epochs_per_trial = epochs

    def end_epoch(self, stage: str, report: EpochReport, *, epochs: int) -> None:
        """A trial completed an epoch."""
        with self._lock:
            if self._stage is None:
                return
            self._stage.epochs_per_trial = epochs
            self._stage.epochs_done += 1
            self._stage.epoch_of_trial[report.trial] = report.epoch
            self._stage.parked.discard(report.trial)
            self._stage.times.append(self._clock())
            if OBJECTIVE in report.metrics:
                self._keep_best(stage, report.metrics[OBJECTIVE])

    def park_trial(self, trial: int) -> None:
        """A trial waits without a worker."""
        with self._lock:
            if self._stage is not None:
                self._stage.parked.add(trial)

    def end_trial(self, stage: str, outcome: TrialOutcome) -> None:
        """A trial ended, or was interrupted."""
        with self._lock:
            if self._stage is None:
                return
            self._stage.epoch_of_trial.pop(outcome.trial, None)
            self._stage.parked.discard(outcome.trial)
            if outcome.kind is OutcomeKind.CANCELLED:
                return
            self._stage.done += 1
            if outcome.kind in (OutcomeKind.FAILED, OutcomeKind.INVALID_METRIC):
                self._stage.failed += 1
            elif outcome.value is not None:
                self._keep_best(stage, outcome.value)

    def snapshot(self) -> Snapshot:
        """The state now."""
        with self._lock:
            stage = self._stage
            if stage is None:
                return Snapshot("", 0, 0, 0, 0, 0, None, None, None, None, None)
            rate = self._rate(stage)
            left = self._epochs_left(stage)
            return Snapshot(
                stage=stage.name,
                planned=stage.planned,
                done=stage.done,
                running=len(stage.epoch_of_trial.keys() - stage.parked),
                failed=stage.failed,
                epochs_done=stage.epochs_done,
                epochs_left=left,
                epochs_per_s=rate,
                seconds_left=left / rate if left is not None and rate else None,
                best_mm=self._best_mm.get(stage.name),
                baseline_mm=self._baseline(stage.name),
            )

    def _keep_best(self, stage: str, value: float) -> None:
        self._best_mm[stage] = min(value, self._best_mm.get(stage, value))

    def _baseline(self, stage: str) -> float | None:
        first = next(iter(self._best_mm), stage)
        return None if first == stage else self._best_mm[first]

    def _rate(self, stage: _Stage) -> float | None:
        # from the first epoch on: what came before it was the start of the workers
        if len(stage.times) < 2:
            return None
        # up to now, not to the last epoch, so that a stall shows
        elapsed = self._clock() - stage.times[0]
        return (len(stage.times) - 1) / elapsed if elapsed > 0 else None

    @staticmethod
    def _epochs_left(stage: _Stage) -> int | None:
        if stage.epochs_per_trial == 0:
            return None
        waiting = max(0, stage.planned - stage.done - len(stage.epoch_of_trial))
        open_epochs = sum(
            max(0, stage.epochs_per_trial - epoch) for epoch in stage.epoch_of_trial.values()
        )
        return waiting * stage.epochs_per_trial + open_epochs
