"""What happens to the trials of one `run`, told by Ray's hooks (no Ray in here).

One Tune trial is one attempt. A retry is a new Tune trial of the same request: Tune's own
retries skip a worker that dies between two trials, and hide the attempt from us.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.adapters.ray_results import (
    Attempts,
    Cancelled,
    Completed,
    End,
    Failed,
    FailureKind,
    Invalid,
    Progress,
    Stopped,
    failure_kind,
    failure_reason,
    to_outcome,
)
from tuner.errors import RunnerError
from tuner.ports import Decision, FeedState, TrialFeed, TrialObserver
from tuner.records import EpochReport, TrialRequest

__all__ = ["TrialBridge"]

logger = logging.getLogger(__name__)

MAX_LOSSES = 20
"""How often a trial is taken up again whose node was lost: that is no fault of the trial."""


@dataclass
class _Trial:
    """A request on its way from the feed to its outcome."""

    request: TrialRequest
    attempt: int = 1
    failures: int = 0
    losses: int = 0
    announced: int = 0
    attempt_started_s: float | None = None
    seconds: float = 0.0
    progress: Progress | None = None
    last_epoch: int = 0
    end: End | None = None
    settled: bool = False
    parked: bool = False


class TrialBridge:
    """Joins a feed and an observer to Tune's hooks.

    No method raises: an error of feed or observer is kept in `fault`, no further trial is
    started, and the caller raises it once Tune has stopped. (Tune would wrap it in a text.)

    Args:
        feed: Where requests come from.
        observer: Who is told.
        max_concurrent: How many trials run at once; may be changed while they do.
        max_failures: How often a failed trial is tried again; a lost node does not count.
        devices: Accelerators that a trial holds, or CPUs if none.
        interrupted: Says whether a signal asked for the end.
        grace_s: How long running epochs may still take then, seconds.
    """

    def __init__(
        self,
        feed: TrialFeed,
        observer: TrialObserver,
        *,
        max_concurrent: int,
        max_failures: int,
        devices: float,
        interrupted: Callable[[], bool] = lambda: False,
        grace_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._feed = feed
        self._observer = observer
        self.max_concurrent = max_concurrent
        self._max_failures = max_failures
        self._devices = devices
        self._interrupted = interrupted
        self._grace_s = grace_s
        self._interrupted_s: float | None = None
        self._live: dict[str, _Trial] = {}
        self._retries: deque[_Trial] = deque()
        self._parked: dict[tuple[str, int], _Trial] = {}
        self._feed_waits = False
        self._feed_listens = False
        self._feed_done = False
        self.fault: Exception | None = None
        self.cancelled = 0
        self.memory_limit: int | None = None

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave nothing behind in the files into which Tune pickles whatever it is given.

        Feed and observer hold connections (and, in their addresses, passwords); an experiment is
        never restored from those files.
        """
        return type(None), ()

    @property
    def aborting(self) -> bool:
        """Whether everything has to stop now."""
        return self.fault is not None or self._interrupted()

    @property
    def finishing(self) -> bool:
        """Whether, after a signal, running epochs are still given time to end."""
        grace_s = self._grace_s()
        if self.fault is not None or not self._interrupted() or grace_s <= 0.0:
            return False
        waiting = [t for t in self._live.values() if t.attempt_started_s and not t.settled]
        if self._interrupted_s is None:
            self._interrupted_s = time.monotonic()
            if waiting:
                logger.warning(
                    "interrupted: waiting for the running epochs of %d trials, at most %g s; "
                    "interrupt once more to leave at once",
                    len(waiting),
                    grace_s,
                )
        return bool(waiting) and time.monotonic() - self._interrupted_s < grace_s

    @property
    def room(self) -> int:
        """How many more trials may be started now; fewer at once after memory ran out."""
        allowed = min(self.max_concurrent, self.memory_limit or self.max_concurrent)
        return allowed - len(self._live)

    @property
    def wanted(self) -> int | None:
        """How many trials there are to run at once, if there were room for all; None: no end."""
        limits = [] if self.memory_limit is None else [self.memory_limit]
        if self._feed_done or self._feed_waits:
            limits.append(len(self._live) + len(self._retries))
        return min(limits, default=None)

    def next_request(self, ticket: str) -> TrialRequest | FeedState:
        """Give what the Tune trial `ticket` should run, WAIT, or DONE for good.

        DONE is given only when nothing is running any more: Tune never asks again after it,
        and a running trial may yet need another attempt.
        """
        if self.aborting:
            return FeedState.DONE
        if self.room <= 0:
            return FeedState.WAIT
        trial = self._retries.popleft() if self._retries else self._from_feed()
        if trial is None:
            idle = self.aborting or (self._feed_done and not self._live)
            return FeedState.DONE if idle else FeedState.WAIT
        self._live[ticket] = trial
        return trial.request

    def started(self, ticket: str) -> None:
        """A worker took the trial up."""
        trial = self._live.get(ticket)
        if trial is None or self.aborting:
            return
        trial.attempt_started_s = time.monotonic()
        self._announce(trial)

    def progressed(self, ticket: str, flat_result: Mapping[str, Any]) -> bool:
        """Take a report; return whether the trial has to stop."""
        trial = self._live.get(ticket)
        if trial is None or self.fault is not None or trial.settled:
            return True
        trial.settled = self._interrupted()
        try:
            trial.progress = Progress.from_result(flat_result)
            for note in trial.progress.notes:
                logger.warning("%s trial %d: %s", trial.request.stage, trial.request.trial, note)
            trial.end = self._judge(trial, trial.progress)
        except Exception as error:  # noqa: BLE001 - kept, and raised unchanged by the runner
            self._keep(error)
            return True
        self._feed_waits = self._feed_waits and not self._feed_listens
        return trial.parked or trial.settled or trial.end is not None

    def ended(self, ticket: str) -> None:
        """Tune stopped the trial, after a report that asked for it."""
        trial = self._live.get(ticket)
        if trial is None or self.fault is not None:
            return
        if trial.end is None and self._interrupted():
            return
        del self._live[ticket]
        if trial.parked:
            self._park(trial)
            return
        self._close(trial, trial.end or Failed("Ray ended the trial before it had finished"))

    def failed(self, ticket: str, traceback: str) -> None:
        """The worker raised or died; try again, or give up."""
        if self.aborting and ticket in self._live:
            self._live[ticket].settled = True
        if self.aborting or ticket not in self._live:
            return
        trial = self._live.pop(ticket)
        self._stop_clock(trial)
        kind = failure_kind(traceback)
        if kind is FailureKind.HOST_MEMORY:
            self._run_fewer()
        if kind is FailureKind.NODE_LOST:
            trial.losses += 1
        else:
            trial.failures += 1
        if trial.failures > self._max_failures or trial.losses > MAX_LOSSES:
            self._give_up(trial, kind, traceback)
            return
        logger.warning(
            "%s trial %d: attempt %d ended (%s) and is tried again from its last checkpoint: %s",
            trial.request.stage,
            trial.request.trial,
            trial.attempt,
            kind.value,
            failure_reason(traceback),
        )
        self._try_again(trial)

    def _give_up(self, trial: _Trial, kind: FailureKind, traceback: str) -> None:
        """End a trial that failed too often; a full disk is no fault of it, and ends the run."""
        if kind is not FailureKind.STORAGE_FULL:
            self._close(trial, Failed(traceback))
            return
        self._retries.append(trial)
        self._keep(
            RunnerError(
                f"{failure_reason(traceback)}. The run has stopped and every trial is kept: make "
                "room, then give the same command again; it goes on from the last checkpoints"
            )
        )

    def take_back(self) -> int:
        """Queue every running trial again, because Tune itself came down; return how many."""
        taken = list(self._live.values())
        self._live.clear()
        for trial in taken:
            self._stop_clock(trial)
            if trial.end is not None:
                self._close(trial, trial.end)
            elif trial.parked:
                self._park(trial)
            else:
                self._try_again(trial)
        return len(taken)

    def _try_again(self, trial: _Trial) -> None:
        trial.attempt += 1
        self._retries.append(trial)

    def _run_fewer(self) -> None:
        """Run no more trials at once than are left where one was killed for want of memory."""
        self.memory_limit = max(1, len(self._live))
        logger.warning(
            "a machine ran out of memory: from now on at most %d trials run at once; "
            "--max-concurrent sets a bound from the start",
            self.memory_limit,
        )

    def cancel_rest(self) -> None:
        """Tell the observer CANCELLED for every trial that has not ended.

        One that no worker has taken up was never shown to the observer, and is not now. All are
        counted in `cancelled`.
        """
        reason = "the run ended with an error" if self.fault else "the run was interrupted"
        rest = [*self._live.values(), *self._retries, *self._parked.values()]
        self.cancelled += len(rest)
        self._live.clear()
        self._retries.clear()
        self._parked.clear()
        for trial in rest:
            if not trial.announced:
                continue
            self._stop_clock(trial)
            outcome = to_outcome(trial.request, self._attempts(trial), Cancelled(reason))
            try:
                self._observer.on_end(trial.request.stage, outcome)
            except Exception as error:  # noqa: BLE001 - the first fault is the one to raise
                self._keep(error)

    def _from_feed(self) -> _Trial | None:
        if self._feed_done or self._feed_waits:
            return None
        try:
            answer = self._feed.next_request()
        except Exception as error:  # noqa: BLE001 - kept, and raised unchanged by the runner
            self._keep(error)
            return None
        if isinstance(answer, TrialRequest):
            return self._taken_up(answer)
        self._feed_done = answer is FeedState.DONE
        self._feed_listens = answer is FeedState.WAIT_FOR_REPORT
        self._feed_waits = self._feed_listens or answer is FeedState.WAIT
        if self._feed_waits and not self._live:
            self._keep(RunnerError("the feed waits for a trial to end, but none is running"))
        return None

    def _park(self, trial: _Trial) -> None:
        """Keep a trial without a worker until the feed gives it again: the same attempt."""
        self._stop_clock(trial)
        self._feed_waits = False
        self._parked[trial.request.stage, trial.request.trial] = trial

    def _taken_up(self, request: TrialRequest) -> _Trial:
        trial = self._parked.pop((request.stage, request.trial), None) or _Trial(request)
        trial.parked = False
        return trial

    def _judge(self, trial: _Trial, progress: Progress) -> End | None:
        fault = progress.fault()
        if fault:
            return Invalid(fault)
        decision = self._report_epochs(trial, progress)
        if progress.finished:
            return Completed()
        trial.parked = decision is Decision.PARK
        return Stopped() if decision is Decision.STOP else None

    def _report_epochs(self, trial: _Trial, progress: Progress) -> Decision:
        """Report the epochs that this driver has not yet reported, the last one always."""
        decision = Decision.CONTINUE
        missed = [(n, m) for n, m in progress.history if trial.last_epoch < n < progress.epoch]
        epochs = [*missed, (progress.epoch, progress.metrics)] if progress.epoch > 0 else []
        for epoch, metrics in epochs:
            report = EpochReport(trial.request.trial, epoch, dict(metrics))
            decision = self._observer.on_epoch(trial.request.stage, report)
            trial.last_epoch = max(trial.last_epoch, epoch)
        return decision

    def _announce(self, trial: _Trial) -> None:
        if trial.announced == trial.attempt:
            return
        trial.announced = trial.attempt
        try:
            self._observer.on_start(trial.request, attempt=trial.attempt)
        except Exception as error:  # noqa: BLE001 - kept, and raised unchanged by the runner
            self._keep(error)

    def _close(self, trial: _Trial, end: End) -> None:
        self._stop_clock(trial)
        self._feed_waits = False
        # a worker that died while it started was never announced; an end needs a beginning
        self._announce(trial)
        outcome = to_outcome(trial.request, self._attempts(trial), end)
        try:
            self._observer.on_end(trial.request.stage, outcome)
        except Exception as error:  # noqa: BLE001 - kept, and raised unchanged by the runner
            self._keep(error)

    def _stop_clock(self, trial: _Trial) -> None:
        if trial.attempt_started_s is not None:
            trial.seconds += time.monotonic() - trial.attempt_started_s
            trial.attempt_started_s = None

    def _attempts(self, trial: _Trial) -> Attempts:
        return Attempts(trial.attempt, trial.seconds, self._devices, trial.progress)

    def _keep(self, error: Exception) -> None:
        if self.fault is None:
            self.fault = error
        elif error is not self.fault:
            logger.warning("a further error while the run stops: %s", error)
