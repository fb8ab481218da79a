"""A study store that outlives an outage of what it lies on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from tuner.errors import RunInterruptedError, StoreError, StoreUnreachableError
from tuner.ports import StudyStore
from tuner.records import (
    EpochReport,
    StudyHistory,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
    TrialState,
)

__all__ = ["PatientStore", "is_away"]

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
_SLICE_S = 0.1

_Answer = TypeVar("_Answer")


def is_away(store: StudyStore) -> bool:
    """Whether a store is known to be away, so that an answer of it would have to be waited for."""
    return isinstance(store, PatientStore) and store.away()


def _no_signal() -> int | None:
    return None


class PatientStore:
    """A `StudyStore` around another one that may be away for a while.

    What needs no answer (`report`, `tell`) is kept in memory, in order, and written when the
    store is back: trials that run go on. Whatever needs an answer writes that first, and waits.
    A driver killed meanwhile loses nothing: checkpoints and the tracker's spool hold it, too.

    Args:
        store: What is written to. Every write of it may be repeated, but for `ask`, which is
            looked after here.
        patience_s: How long an answer is waited for, seconds; running trials are no waiting.
        say: Told when the store goes, and when it is back.
        stop_signal: The number of a signal that asked for the end; None as long as none has.
    """

    def __init__(
        self,
        store: StudyStore,
        *,
        patience_s: float,
        say: Callable[[str], None],
        stop_signal: Callable[[], int | None] = _no_signal,
    ) -> None:
        self._store = store
        self._patience_s = patience_s
        self._say = say
        self._stop_signal = stop_signal
        self._unwritten: deque[Callable[[], None]] = deque()
        self._away_since_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._next_try_s = 0.0
        self._next_number: dict[str, int] = {}

    def away(self) -> bool:
        """Whether the store could not be reached when it was last tried."""
        return self._away_since_s is not None

    def open_study(self, spec: StudySpec) -> None:
        """See `StudyStore`."""
        self._answer(lambda: self._store.open_study(spec))

    def history(self, study_name: str) -> StudyHistory | None:
        """See `StudyStore`."""
        history = self._answer(lambda: self._store.history(study_name))
        self._next_number[study_name] = 0 if history is None else len(history.trials)
        return history

    def ask(self, study_name: str, spec: TrialSpec) -> int:
        """See `StudyStore`; a trial whose record was cut off by an outage is looked for."""
        if study_name not in self._next_number:
            self.history(study_name)
        expected = self._next_number[study_name]
        tried = False

        def ask_once() -> int:
            nonlocal tried
            if tried and self._is_there(study_name, expected, spec):
                return expected
            tried = True
            return self._store.ask(study_name, spec)

        number = self._answer(ask_once)
        self._next_number[study_name] = number + 1
        return number

    def import_finished(self, study_name: str, trial: TrialRecord, source: str) -> int:
        """See `StudyStore`."""
        number = self._answer(lambda: self._store.import_finished(study_name, trial, source))
        if study_name in self._next_number:
            self._next_number[study_name] = max(self._next_number[study_name], number + 1)
        return number

    def report(self, study_name: str, report: EpochReport, *, value: float) -> None:
        """See `StudyStore`; never waits."""
        self._write(lambda: self._store.report(study_name, report, value=value))

    def tell(self, study_name: str, outcome: TrialOutcome) -> None:
        """See `StudyStore`; never waits."""
        self._write(lambda: self._store.tell(study_name, outcome))

    def annotate(
        self, study_name: str, key: str, value: object, *, trial: int | None = None
    ) -> None:
        """See `StudyStore`."""
        self._answer(lambda: self._store.annotate(study_name, key, value, trial=trial))

    def studies(self) -> tuple[str, ...]:
        """See `StudyStore`."""
        return self._answer(self._store.studies)

    def _write(self, call: Callable[[], None]) -> None:
        self._unwritten.append(call)
        if self.away() and time.monotonic() < self._next_try_s:
            return
        try:
            self._catch_up()
        except StoreUnreachableError as error:
            self._note_outage(error)
        else:
            self._note_return()

    def _answer(self, call: Callable[[], _Answer]) -> _Answer:
        """Write what waits, then call; both again and again until the patience is over."""
        give_up_s: float | None = None
        while True:
            try:
                self._catch_up()
                answer = call()
            except StoreUnreachableError as error:
                self._note_outage(error)
                now_s = time.monotonic()
                give_up_s = now_s + self._patience_s if give_up_s is None else give_up_s
                if now_s >= give_up_s:
                    raise StoreUnreachableError(error.outage, waited_s=self._patience_s) from error
                self._wait_until(min(self._next_try_s, give_up_s))
            else:
                self._note_return()
                return answer

    def _catch_up(self) -> None:
        while self._unwritten:
            try:
                self._unwritten[0]()
            except StoreUnreachableError:
                raise
            except StoreError:
                self._unwritten.popleft()  # refused for good
                raise
            self._unwritten.popleft()

    def _note_outage(self, error: StoreUnreachableError) -> None:
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
            self._pause_s = FIRST_PAUSE_S
            self._say(f"{error.outage}; it is tried again, and running trials go on")
        else:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._next_try_s = now_s + self._pause_s

    def _note_return(self) -> None:
        if self._away_since_s is not None:
            lasted_s = time.monotonic() - self._away_since_s
            self._away_since_s = None
            self._say(f"the study store is back after {lasted_s:.0f} s; nothing was lost")

    def _wait_until(self, moment_s: float) -> None:
        while (rest_s := moment_s - time.monotonic()) > 0:
            number = self._stop_signal()
            if number is not None:
                raise RunInterruptedError(number, "interrupted while the study store was away")
            time.sleep(min(rest_s, _SLICE_S))

    def _is_there(self, study_name: str, number: int, spec: TrialSpec) -> bool:
        """Whether an `ask` that failed was carried out all the same."""
        history = self._store.history(study_name)
        if history is None or len(history.trials) <= number:
            return False
        found = history.trials[number]
        if found.spec == spec and found.state is TrialState.RUNNING:
            return True
        raise StoreError(
            f"study {study_name} got another trial {number} during an outage: another process "
            "writes to it; end that one, then repeat the command"
        )
