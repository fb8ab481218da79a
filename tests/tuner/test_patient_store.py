"""A store that is away for a while: nothing is lost, nothing is doubled, waits come to an end."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import pytest
from optuna.storages import InMemoryStorage

from tests.contracts.study_store import (
    NAME,
    STUDY,
    Reopen,
    StudyStoreContract,
    completed,
    trial_spec,
)
from tests.fakes.failing_store import FailingStore
from tuner import patient_store
from tuner.adapters.optuna_store import OptunaStudyStore
from tuner.errors import RunInterruptedError, StoreError, StoreUnreachableError
from tuner.patient_store import PatientStore
from tuner.ports import StudyStore
from tuner.records import EpochReport, StudyHistory, TrialState

LATER = dataclasses.replace(
    STUDY, stage="3-alpha", distributions={"alpha": STUDY.distributions["alpha"]}
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_store, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patient_store, "LONGEST_PAUSE_S", 0.01)


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


@pytest.fixture
def line(storage: InMemoryStorage) -> FailingStore:
    return FailingStore(OptunaStudyStore(storage))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(line: FailingStore, said: list[str]) -> PatientStore:
    return PatientStore(line, patience_s=10.0, say=said.append)


class TestPatientStoreIsAStudyStore(StudyStoreContract):
    @pytest.fixture
    def store(self) -> StudyStore:
        return PatientStore(OptunaStudyStore(InMemoryStorage()), patience_s=0.0, say=_never)

    @pytest.fixture
    def reopen(self, store: StudyStore) -> Reopen:
        return lambda: store


def _never(text: str) -> None:
    raise AssertionError(text)


def history_of(store: StudyStore, name: str = NAME) -> StudyHistory:
    history = store.history(name)
    assert history is not None
    return history


CALLS: dict[str, Callable[[StudyStore], object]] = {
    "open": lambda store: store.open_study(STUDY),
    "ask": lambda store: store.ask(NAME, trial_spec()),
    "ask the same": lambda store: store.ask(NAME, trial_spec()),
    "report": lambda store: store.report(NAME, EpochReport(0, 1, {}), value=70.0),
    "tell": lambda store: store.tell(NAME, completed(0)),
    "annotate": lambda store: store.annotate(NAME, "rounds", 1),
    "annotate a trial": lambda store: store.annotate(NAME, "mlflow_run_id", "a", trial=0),
    "open the next": lambda store: store.open_study(LATER),
    "import": lambda store: store.import_finished(
        LATER.study_name, history_of(store).trials[0], f"{NAME}#0"
    ),
    "ask the next": lambda store: store.ask(LATER.study_name, trial_spec(alpha=1e-3)),
}
"""A short life of two studies."""


@pytest.mark.parametrize("broken", CALLS)
@pytest.mark.parametrize("cut", ["cut_before", "cut_after"])
def test_a_call_cut_off_takes_effect_once(
    store: PatientStore, line: FailingStore, broken: str, cut: str
) -> None:
    """Before or after the effect: afterwards all is as if nothing had happened."""
    calm = OptunaStudyStore(InMemoryStorage())
    answers = []
    for name, call in CALLS.items():
        if name == broken:
            setattr(line, cut, 2)
        answers.append((call(store), call(calm)))
    assert all(answer == expected for answer, expected in answers)
    for study in (STUDY, LATER):
        assert history_of(store, study.study_name) == history_of(calm, study.study_name)


def test_reports_and_ends_do_not_wait_and_are_written_in_order(
    store: PatientStore, line: FailingStore, storage: InMemoryStorage, said: list[str]
) -> None:
    store.open_study(STUDY)
    number = store.ask(NAME, trial_spec())
    line.down = True
    for epoch in (1, 2, 3):
        store.report(NAME, EpochReport(number, epoch, {}), value=90.0 - epoch)
    store.tell(NAME, completed(number))
    assert store.away()
    assert history_of(OptunaStudyStore(storage)).trials[0].state is TrialState.RUNNING
    line.down = False
    trial = history_of(store).trials[0]
    assert trial.curve == ((1, 89.0), (2, 88.0), (3, 87.0))
    assert trial.outcome == completed(number)
    assert not store.away()
    assert [text.split(";")[0] for text in said] == [
        "the study store is away: connection refused",
        "the study store is back after 0 s",
    ]


def test_what_waits_is_written_by_the_next_report(
    store: PatientStore, line: FailingStore, storage: InMemoryStorage
) -> None:
    store.open_study(STUDY)
    store.ask(NAME, trial_spec())
    line.cut_before = 1
    store.report(NAME, EpochReport(0, 1, {}), value=80.0)
    time.sleep(0.005)  # the pause before the next attempt
    store.report(NAME, EpochReport(0, 2, {}), value=70.0)
    assert history_of(OptunaStudyStore(storage)).trials[0].curve == ((1, 80.0), (2, 70.0))


@pytest.mark.parametrize("patience_s", [0.0, 0.05])
def test_patience_comes_to_an_end(line: FailingStore, patience_s: float) -> None:
    said: list[str] = []
    store = PatientStore(line, patience_s=patience_s, say=said.append)
    store.open_study(STUDY)
    line.down = True
    with pytest.raises(StoreUnreachableError, match=r"connection refused.*repeat the command"):
        store.ask(NAME, trial_spec())
    assert len(said) == 1
    line.down = False
    assert store.ask(NAME, trial_spec()) == 0


def test_contradictions_are_not_waited_out(store: PatientStore, said: list[str]) -> None:
    store.open_study(STUDY)
    store.ask(NAME, trial_spec())
    store.tell(NAME, completed(0))
    with pytest.raises(StoreError, match="already ended with another result"):
        store.tell(NAME, completed(0, value=60.0))
    assert said == []


def test_a_stranger_who_writes_during_an_outage_is_noticed(
    store: PatientStore, line: FailingStore, storage: InMemoryStorage
) -> None:
    store.open_study(STUDY)
    OptunaStudyStore(storage).ask(NAME, trial_spec(seed=99))
    assert store.ask(NAME, trial_spec()) == 1  # it was there before the first attempt
    line.cut_before = 1
    OptunaStudyStore(storage).ask(NAME, trial_spec(seed=98))
    with pytest.raises(StoreError, match="another process writes to it"):
        store.ask(NAME, trial_spec(seed=3))


def test_a_signal_ends_the_wait_at_once(line: FailingStore) -> None:
    signals: list[int] = []
    store = PatientStore(
        line,
        patience_s=300.0,
        say=lambda text: None,
        stop_signal=lambda: signals[0] if signals else None,
    )
    line.down = True
    threading.Timer(0.05, signals.append, [15]).start()
    with pytest.raises(RunInterruptedError, match="while the study store was away") as caught:
        store.studies()
    assert caught.value.exit_code == 143
