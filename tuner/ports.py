"""Interfaces to the outside. Adapters implement them; `tuner.engine` only knows these."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.records import (
    EpochReport,
    StudyHistory,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialRequest,
    TrialSpec,
)

__all__ = [
    "CheckpointKeeper",
    "Decision",
    "EngineListener",
    "FeedState",
    "OnMetrics",
    "OnPretrainingEpoch",
    "Pruner",
    "RunInfo",
    "Sampler",
    "StudyHistory",
    "StudyStore",
    "Tracker",
    "TrialFeed",
    "TrialObserver",
    "TrialRunner",
]


class StudyStore(Protocol):
    """The truth: what ran, with which configuration, how it ended.

    One writer (the driver), called from one thread. Every method either takes effect as a whole
    or not at all, so that a process killed between two calls leaves a history that can be
    replayed. Methods raise `StoreError` when the storage cannot be reached or contradicts
    the call (unknown study, trial already ended with another result).
    """

    def open_study(self, spec: StudySpec) -> None:
        """Create the study, or check that the existing one has the same definition.

        Whatever a killed writer left half done in the study is completed.

        Raises:
            DefinitionMismatchError: If it exists with another definition; the message names
                what differs.
        """
        ...

    def history(self, study_name: str) -> StudyHistory | None:
        """Read a study back; None if there is none of that name."""
        ...

    def ask(self, study_name: str, spec: TrialSpec) -> int:
        """Record one more trial as RUNNING, in one write; return its number."""
        ...

    def import_finished(self, study_name: str, trial: TrialRecord, source: str) -> int:
        """Record a copy of a FINISHED trial (`source` is `study#number`); return its number.

        Idempotent: the same source imported twice gives the first number.
        """
        ...

    def report(self, study_name: str, report: EpochReport, *, value: float) -> None:
        """Keep the objective of one epoch; an epoch already kept is ignored."""
        ...

    def tell(self, study_name: str, outcome: TrialOutcome) -> None:
        """Record the end of a trial.

        COMPLETED → FINISHED, STOPPED_EARLY → PRUNED, INVALID_METRIC and FAILED → FAILED;
        CANCELLED leaves it RUNNING.

        Idempotent: telling the same outcome of an ended trial again changes nothing.
        """
        ...

    def annotate(
        self, study_name: str, key: str, value: object, *, trial: int | None = None
    ) -> None:
        """Keep a JSON fact with the study, or with one of its trials (`mlflow_run_id`, …).

        The key `result` with `StageResult.to_json()` closes the stage.
        """
        ...

    def studies(self) -> tuple[str, ...]:
        """Names of all studies of the tuner in this storage, sorted."""
        ...


class EngineListener(Protocol):
    """Who wants to know how a run proceeds (a progress view, say); must not raise or block."""

    def on_stage(
        self,
        stage: str,
        *,
        planned: int,
        done: int,
        message: str,
        best_mm: Mapping[str, float],
    ) -> None:
        """A stage was opened or taken up again, with so many trials planned and ended.

        `best_mm` is the best objective of each stage so far, in order; the first is the baseline.
        """
        ...

    def on_trial_started(self, request: TrialRequest) -> None:
        """A worker took up a trial."""
        ...

    def on_epoch(self, stage: str, report: EpochReport, *, epochs: int) -> None:
        """A trial completed one of its `epochs`."""
        ...

    def on_trial_parked(self, stage: str, trial: int) -> None:
        """A trial gave up its worker and waits at a rung; its next epoch says that it goes on."""
        ...

    def on_trial_ended(self, stage: str, outcome: TrialOutcome) -> None:
        """A trial ended."""
        ...

    def on_message(self, text: str) -> None:
        """A decision or a warning, one line."""
        ...


class Sampler(Protocol):
    """Proposes the hyperparameters of one trial from what is known. Deterministic."""

    def suggest(self, history: StudyHistory, *, number: int, batch_start: int) -> dict[str, float]:
        """Propose the point of trial `number`.

        Trials before `batch_start` are known with their results; those from `batch_start` on
        are treated as running whatever their state, so that timing cannot change the proposal.
        """
        ...


class Decision(enum.Enum):
    """What a running trial should do after an epoch."""

    CONTINUE = "continue"
    STOP = "stop"
    PARK = "park"
    """Let go of the worker; the feed gives the same request again, and its checkpoint goes on."""


class Pruner(Protocol):
    """Says which trials of a stage go on past an epoch. Deterministic, and without memory.

    Trials compete within a bracket, at epochs called rungs.
    """

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def bracket(self, trial: int) -> int:
        """The bracket in which the trial of that number competes."""
        ...

    def rungs(self, bracket: int) -> tuple[int, ...]:
        """The epochs after which trials of a bracket are judged, in order; never the last."""
        ...

    def survivors(
        self,
        bracket: int,
        rung: int,
        curves: Mapping[int, Mapping[int, float]],
        *,
        judged: Collection[int],
    ) -> frozenset[int]:
        """Those of the `judged` trials that go on.

        Args:
            bracket: The bracket.
            rung: One of its rungs.
            curves: By number of trial, objective by epoch, of each trial of the bracket that has
                a value at that rung; what comes after the rung is passed over.
            judged: Numbers of trials, all of them in `curves`.
        """
        ...


class FeedState(enum.Enum):
    """Why a feed has no request to give right now."""

    WAIT = "wait"
    WAIT_FOR_REPORT = "wait for report"
    DONE = "done"


class TrialFeed(Protocol):
    """Where a runner gets its trials from."""

    def next_request(self) -> TrialRequest | FeedState:
        """Give the next trial to start, or say why there is none.

        WAIT: until a running trial has ended. WAIT_FOR_REPORT: until one has reported an epoch,
        or ended. DONE: for good.
        """
        ...


class TrialObserver(Protocol):
    """Who a runner tells what happens, in the driver's thread, in order per trial."""

    def on_start(self, request: TrialRequest, *, attempt: int) -> None:
        """A worker has taken up the trial (attempt 1), or taken it up again."""
        ...

    def on_epoch(self, stage: str, report: EpochReport) -> Decision:
        """An epoch ended; epochs may repeat after a restart from a checkpoint."""
        ...

    def on_end(self, stage: str, outcome: TrialOutcome) -> None:
        """The trial ended, once per request that a worker took up.

        A request that none had taken up when the run was interrupted has no end: nothing of it
        was shown.
        """
        ...


class OnPretrainingEpoch(Protocol):
    """Told of an epoch of the pre-training."""

    def __call__(
        self, epoch: int, figures: Mapping[str, float], /, *, earlier: bool = False
    ) -> None:
        """An epoch, from 1, has ended; `earlier`: it was there already."""
        ...


OnMetrics = Callable[[int, dict[str, float]], None]
"""Told the metrics of the job of that index."""


class TrialRunner(Protocol):
    """Runs trials on workers."""

    def run(self, feed: TrialFeed, observer: TrialObserver) -> None:
        """Run what the feed gives until it is DONE and every trial has ended.

        Raises:
            RunnerError: If the execution layer itself broke.
            RunInterruptedError: After SIGINT or SIGTERM; unfinished trials were CANCELLED.
        """
        ...

    def evaluate(
        self, jobs: Sequence[tuple[TrialSpec, str]], *, split: str, on_metrics: OnMetrics
    ) -> None:
        """Compute the metrics of checkpoints on a split.

        Args:
            jobs: `(spec, checkpoint)` each.
            split: Name of the split.
            on_metrics: Told the index of a job and its metrics as soon as they are there, in any
                order, in the driver's thread.

        Raises:
            RunnerError: If some job failed, once all others are told; about the first of those.
            RunInterruptedError: After SIGINT or SIGTERM.
        """
        ...

    def pretrain(self, spec: TrialSpec, on_epoch: OnPretrainingEpoch) -> dict[str, Any]:
        """Pre-train what a trial begins with; go on with it, or find it finished.

        Args:
            spec: The trial.
            on_epoch: Told each epoch and its figures, in order, those of earlier lives as well.

        Returns:
            `fingerprint`, `epochs`, `first_loss`, `last_loss` and `seconds`, JSON values.

        Raises:
            RunnerError: If it failed.
            RunInterruptedError: After SIGINT or SIGTERM; it goes on from its last epoch.
        """
        ...


@dataclass(frozen=True)
class RunInfo:
    """What a tracker shows about a run as a whole.

    Attributes:
        run: Name of the run.
        tags: Short facts (backbone, data set, git commit, …).
        params: The resolved configuration, flat.
        dataset: Name, content hash and description of the data.
    """

    run: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    dataset: Mapping[str, str]


class Tracker(Protocol):
    """A projection of the study store for people to look at.

    No method blocks on a network or raises because a server is down: events are kept on disk
    in order and delivered when it is back. All are idempotent per (run, stage, trial, epoch).
    """

    def start_run(self, info: RunInfo) -> None:
        """Show the run as RUNNING; a run shown before is continued."""
        ...

    def start_trial(self, request: TrialRequest, *, tags: Mapping[str, str]) -> None:
        """Show a trial as RUNNING beneath the run, with its resolved configuration."""
        ...

    def log_epoch(self, stage: str, report: EpochReport) -> None:
        """Show one epoch's metrics of a trial."""
        ...

    def end_trial(self, stage: str, outcome: TrialOutcome, *, tags: Mapping[str, str]) -> None:
        """Show the end of a trial (CANCELLED: as KILLED, until it goes on)."""
        ...

    def end_stage(
        self, stage: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """Show a closed stage as a summary beneath the run."""
        ...

    def log_artifact(self, path: str, *, folder: str = "") -> None:
        """Attach a file of the run's folder to the run; a later version replaces it."""
        ...

    def end_run(
        self, state: str, *, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Show the run's end: `finished`, `failed` or `interrupted`."""
        ...

    def run_ids(self) -> Mapping[tuple[str, int | None], str]:
        """Tracking ids known so far: (stage, trial), (stage, None), and ("", None) the run."""
        ...

    def close(self, *, timeout_s: float) -> int:
        """Deliver what is pending, at most this long; return how many events remain spooled."""
        ...


class CheckpointKeeper(Protocol):
    """Removes checkpoints that are needed no more. No method raises."""

    def trial_ended(self, spec: TrialSpec, outcome: TrialOutcome) -> None:
        """A trial has ended for good, and the study store knows it."""
        ...

    def stage_closed(self, trials: Sequence[TrialRecord], winner: int | None) -> None:
        """A stage is about to be closed, with the number of the trial that won it.

        None where nobody wins: repeats that confirm a choice. Called once more if the driver is
        killed before the store knows of it.
        """
        ...
