"""The study store and its leases on a PostgreSQL server that restarts, refuses and hangs up."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from sqlalchemy import event

from tests.contracts.study_store import NAME, STUDY, completed, trial_spec
from tests.integration.postgresql import PASSWORD, PostgresqlServer, postgresql_server
from tuner.adapters.database_leases import DatabaseLeases
from tuner.adapters.optuna_storage import open_storage
from tuner.adapters.optuna_store import OptunaStudyStore, open_study_store
from tuner.errors import LeaseLostError, StoreError, StoreUnreachableError
from tuner.lease import take_lease
from tuner.lease_holder import this_process
from tuner.patient_store import PatientStore
from tuner.records import EpochReport

__all__ = ["postgresql_server"]

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.fault]

RUN = "demo"


@pytest.fixture
def url(postgresql_server: PostgresqlServer) -> str:
    return postgresql_server.new_database()


def execute(url: str, statement: str) -> None:
    psycopg2 = pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


HANG_UP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_a_server_that_restarted_between_two_calls_is_not_noticed(
    postgresql_server: PostgresqlServer, url: str
) -> None:
    store = open_study_store(url)
    store.open_study(STUDY)
    for mode in ("fast", "immediate"):
        postgresql_server.stop(mode)
        postgresql_server.start()
        number = store.ask(NAME, trial_spec())
        store.report(NAME, EpochReport(number, 1, {}), value=70.0)
    history = store.history(NAME)
    assert history is not None
    assert [trial.number for trial in history.trials] == [0, 1]


def test_a_stopped_server_is_away_for_every_call(
    postgresql_server: PostgresqlServer, url: str
) -> None:
    store = open_study_store(url)
    lease = DatabaseLeases(url)
    store.open_study(STUDY)
    store.ask(NAME, trial_spec())
    postgresql_server.stop()
    try:
        for call in (
            lambda: store.open_study(STUDY),
            lambda: store.history(NAME),
            lambda: store.ask(NAME, trial_spec()),
            lambda: store.report(NAME, EpochReport(0, 1, {}), value=70.0),
            lambda: store.tell(NAME, completed(0)),
            lambda: store.annotate(NAME, "rounds", 1),
            store.studies,
            lambda: lease.read(RUN),
        ):
            with pytest.raises(StoreUnreachableError, match=r"is away: .*refused") as caught:
                call()
            assert PASSWORD not in str(caught.value)
    finally:
        postgresql_server.start()
    history = store.history(NAME)
    assert history is not None
    assert len(history.trials) == 1


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (f":{PASSWORD}@", ":wrong@"),
        ("/tuner_", "/absent_"),
        ("//ann:", "//bob:"),
    ],
)
def test_a_wrong_address_is_no_outage(url: str, place: str, found: str) -> None:
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        open_study_store(url.replace(place, found))
    assert not isinstance(caught.value, StoreUnreachableError)
    with pytest.raises(StoreError) as caught:
        DatabaseLeases(url.replace(place, found))
    assert not isinstance(caught.value, StoreUnreachableError)


def test_transactions_cut_off_at_their_end_are_repeated(url: str) -> None:
    """The server hangs up on every 13th commit, before it is carried out."""
    storage = open_storage(url)
    said: list[str] = []
    store = PatientStore(OptunaStudyStore(storage), patience_s=60.0, say=said.append)
    calm = OptunaStudyStore(InMemoryStorage())
    commits = itertools.count(1)

    def cut(connection: object) -> None:
        if next(commits) % 13 == 0:
            execute(url, HANG_UP)

    event.listen(storage._backend.engine, "commit", cut)  # type: ignore[attr-defined]  # Optuna's cache
    for target in (store, calm):
        target.open_study(STUDY)
        for seed in range(8):
            assert target.ask(NAME, trial_spec(seed=seed)) == seed
            for epoch in (1, 2):
                target.report(NAME, EpochReport(seed, epoch, {}), value=90.0 - epoch)
            target.tell(NAME, completed(seed))
    assert store.history(NAME) == calm.history(NAME)
    assert sum("is away" in text for text in said) > 2
    assert sum("is back" in text for text in said) > 2


def test_a_commit_whose_answer_was_lost_doubles_no_trial(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has committed; the connection breaks before we hear of it."""
    bare = open_study_store(url)
    store = PatientStore(bare, patience_s=60.0, say=lambda text: None)
    store.open_study(STUDY)
    create = OptunaStudyStore._create
    lost: list[int] = []

    def create_and_lose(self: OptunaStudyStore, *arguments: Any, **options: Any) -> int:
        number = create(self, *arguments, **options)
        if len(lost) < 2:
            lost.append(number)
            raise StoreUnreachableError("the study store is away: connection lost")
        return number

    monkeypatch.setattr(OptunaStudyStore, "_create", create_and_lose)
    assert store.ask(NAME, trial_spec(seed=1)) == 0
    assert store.ask(NAME, trial_spec(seed=1)) == 1
    assert lost == [0, 1]
    history = bare.history(NAME)
    assert history is not None
    assert len(history.trials) == 2


def test_of_many_drivers_at_once_one_gets_the_lease(url: str) -> None:
    tables = [DatabaseLeases(url) for _ in range(6)]
    for attempt in (1, 2, 3):
        seen = tables[0].read(RUN)
        start = threading.Barrier(len(tables))
        got: list[int | None] = []

        def race(
            table: DatabaseLeases,
            seen: Any = seen,
            start: threading.Barrier = start,
            got: list[int | None] = got,
        ) -> None:
            start.wait()
            got.append(table.take(RUN, this_process(), seen))

        threads = [threading.Thread(target=race, args=(table,)) for table in tables]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == len(tables)
        assert [n for n in got if n is not None] == [attempt]


def test_a_lease_cannot_be_taken_while_its_holder_creates_a_trial(url: str) -> None:
    table = DatabaseLeases(url)
    lease = take_lease(table, RUN, this_process(), say=lambda text: None)
    store = open_study_store(url)
    store.open_study(STUDY)
    order: list[str] = []

    def take_over() -> None:
        while table.take(RUN, this_process(), table.read(RUN)) is None:
            pass
        order.append("taken")

    taker = threading.Thread(target=take_over)

    @contextmanager
    def guard(within: Any) -> Iterator[None]:
        with lease.held(within):
            taker.start()
            time.sleep(0.5)
            yield
            order.append("written")

    store.guard_writes(guard)
    assert store.ask(NAME, trial_spec()) == 0
    taker.join()
    assert order == ["written", "taken"]
    with pytest.raises(LeaseLostError, match="taken over by process"):
        store.ask(NAME, trial_spec(seed=2))
    history = store.history(NAME)
    assert history is not None
    assert len(history.trials) == 1
    lease.release()


def test_a_lease_outlives_an_outage(postgresql_server: PostgresqlServer, url: str) -> None:
    table = DatabaseLeases(url)
    lease = take_lease(
        table, RUN, this_process(), say=lambda text: None, timeout_s=0.0, renew_s=0.05
    )
    postgresql_server.stop()
    try:
        with pytest.raises(StoreUnreachableError, match="is away"):
            lease.check()
        lease.check_unless_away()
    finally:
        postgresql_server.start()
    lease.check()
    row = table.read(RUN)
    assert row is not None
    assert row.holder is not None
    assert row.holder.process == os.getpid()
    lease.release()
