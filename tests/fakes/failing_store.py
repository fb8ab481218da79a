"""A study store whose connection breaks, before a call takes effect or after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tuner.errors import StoreUnreachableError
from tuner.ports import StudyStore
from tuner.records import (
    EpochReport,
    StudyHistory,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
)

_Answer = TypeVar("_Answer")


class FailingStore:
    """A real store behind a line that can be cut.

    Args:
        store: The store.

    Attributes:
        down: Whether every call fails.
        cut_before: How many of the next calls fail and do nothing.
        cut_after: How many of the next calls take effect, and fail all the same.
    """

    def __init__(self, store: StudyStore) -> None:
        self._store = store
        self.down = False
        self.cut_before = 0
        self.cut_after = 0

    def open_study(self, spec: StudySpec) -> None:
        self._call(lambda: self._store.open_study(spec))

    def history(self, study_name: str) -> StudyHistory | None:
        return self._call(lambda: self._store.history(study_name))

    def ask(self, study_name: str, spec: TrialSpec) -> int:
        return self._call(lambda: self._store.ask(study_name, spec))

    def import_finished(self, study_name: str, trial: TrialRecord, source: str) -> int:
        return self._call(lambda: self._store.import_finished(study_name, trial, source))

    def report(self, study_name: str, report: EpochReport, *, value: float) -> None:
        self._call(lambda: self._store.report(study_name, report, value=value))

    def tell(self, study_name: str, outcome: TrialOutcome) -> None:
        self._call(lambda: self._store.tell(study_name, outcome))

    def annotate(
        self, study_name: str, key: str, value: object, *, trial: int | None = None
    ) -> None:
        self._call(lambda: self._store.annotate(study_name, key, value, trial=trial))

    def studies(self) -> tuple[str, ...]:
        return self._call(self._store.studies)

    def _call(self, call: Callable[[], _Answer]) -> _Answer:
        if self.down or self.cut_before > 0:
            self.cut_before = max(0, self.cut_before - 1)
            raise StoreUnreachableError("the study store is away: connection refused")
        answer = call()
        if self.cut_after > 0:
            self.cut_after -= 1
            raise StoreUnreachableError("the study store is away: connection lost")
        return answer
