"""Study store and tracker of a driver that stops once its lease is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from tuner.lease import Lease
from tuner.ports import RunInfo, StudyStore, Tracker
from tuner.records import (
    EpochReport,
    StudyHistory,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialRequest,
    TrialSpec,
)

__all__ = ["FencedStore", "FencedTracker"]

_Answer = TypeVar("_Answer")


class FencedStore:
    """A `StudyStore` whose writes need the lease; each raises `LeaseLostError` without it.

    The lease is looked at before a write and, since the driver may have been paused in it, again
    before its answer is used. What then is left: a database's epoch, outcome or note that was
    under way as the driver was paused may come late; new trials and journals are guarded.

    Args:
        store: What is written to.
        lease: The run's lease.
    """

    def __init__(self, store: StudyStore, lease: Lease) -> None:
        self._store = store
        self._lease = lease

    def open_study(self, spec: StudySpec) -> None:
        """See `StudyStore`."""
        self._fenced(lambda: self._store.open_study(spec))

    def history(self, study_name: str) -> StudyHistory | None:
        """See `StudyStore`."""
        return self._store.history(study_name)

    def ask(self, study_name: str, spec: TrialSpec) -> int:
        """See `StudyStore`."""
        return self._fenced(lambda: self._store.ask(study_name, spec))

    def import_finished(self, study_name: str, trial: TrialRecord, source: str) -> int:
        """See `StudyStore`."""
        return self._fenced(lambda: self._store.import_finished(study_name, trial, source))

    def report(self, study_name: str, report: EpochReport, *, value: float) -> None:
        """See `StudyStore`."""
        self._fenced(lambda: self._store.report(study_name, report, value=value))

    def tell(self, study_name: str, outcome: TrialOutcome) -> None:
        """See `StudyStore`."""
        self._fenced(lambda: self._store.tell(study_name, outcome))

    def annotate(
        self, study_name: str, key: str, value: object, *, trial: int | None = None
    ) -> None:
        """See `StudyStore`."""
        self._fenced(lambda: self._store.annotate(study_name, key, value, trial=trial))

    def studies(self) -> tuple[str, ...]:
        """See `StudyStore`."""
        return self._store.studies()

    def _fenced(self, write: Callable[[], _Answer]) -> _Answer:
        self._lease.check()
        answer = write()
        self._lease.check()
        return answer


class FencedTracker:
    """A `Tracker` whose events need the lease; each raises `LeaseLostError` without it.

    While the study store is away nobody can take the run over: then events go on.

    Args:
        tracker: What is told.
        lease: The run's lease.
    """

    def __init__(self, tracker: Tracker, lease: Lease) -> None:
        self._tracker = tracker
        self._lease = lease

    def start_run(self, info: RunInfo) -> None:
        """See `Tracker`."""
        self._lease.check_unless_away()
        self._tracker.start_run(info)

    def start_trial(self, request: TrialRequest, *, tags: Mapping[str, str]) -> None:
        """See `Tracker`."""
        self._lease.check_unless_away()
        self._tracker.start_trial(request, tags=tags)

    def log_epoch(self, stage: str, report: EpochReport) -> None:
        """See `Tracker`."""
        self._lease.check_unless_away()
        self._tracker.log_epoch(stage, report)

    def end_trial(self, stage: str, outcome: TrialOutcome, *, tags: Mapping[str, str]) -> None:
        """See `Tracker`."""
        self._lease.check_unless_away()
        self._tracker.end_trial(stage, outcome, tags=tags)

    def end_stage(
        self, stage: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """See `Tracker`."""
        self._lease.check_unless_away()
        self._tracker.end_stage(stage, tags=tags, metrics=metrics)

    def log_artifact(self, path: str, *, folder: str = "") -> None:
        """See `Tracker`."""
        self._lease.check_unless_away()
        self._tracker.log_artifact(path, folder=folder)

    def end_run(
        self, state: str, *, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """See `Tracker`."""
        self._lease.check_unless_away()
        self._tracker.end_run(state, metrics=metrics, tags=tags)

    def run_ids(self) -> Mapping[tuple[str, int | None], str]:
        """See `Tracker`."""
        return self._tracker.run_ids()

    def close(self, *, timeout_s: float) -> int:
        """See `Tracker`."""
        return self._tracker.close(timeout_s=timeout_s)
