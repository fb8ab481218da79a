"""What a result costs in the store does not grow with the trials that have ended."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from sqlalchemy import event

from tests.contracts.study_store import NAME, STUDY, completed, trial_spec
from tests.integration.postgresql import PostgresqlServer, postgresql_server
from tuner.adapters.optuna_storage import open_storage
from tuner.adapters.optuna_store import OptunaStudyStore, open_study_store
from tuner.records import EpochReport

__all__ = ["postgresql_server"]

FEW, MANY = 10, 120
Work = dict[str, int]


def one_result(store: OptunaStudyStore, seed: int) -> None:
    """A trial from its question to its end, as `StageSession` asks for it."""
    number = store.ask(NAME, trial_spec(seed=seed))
    for epoch in (1, 2, 3):
        store.report(NAME, EpochReport(number, epoch, {}), value=90.0 - epoch)
    store.tell(NAME, completed(number))


@contextmanager
def counted(engine: Any) -> Iterator[Work]:
    """Statements sent to a database and rows that came back."""
    work: Work = {"statements": 0, "rows": 0}

    def sent(*arguments: Any) -> None:
        work["statements"] += 1
        cursor = arguments[1]
        work["rows"] += max(0, cursor.rowcount)

    event.listen(engine, "after_cursor_execute", sent)
    try:
        yield work
    finally:
        event.remove(engine, "after_cursor_execute", sent)


@contextmanager
def scanned(engine: Any) -> Iterator[Work]:
    """Steps of SQLite's virtual machine, in tens: what it looked at, not what it answered."""
    work: Work = {"steps": 0}

    def step() -> int:
        work["steps"] += 1
        return 0

    raw = engine.raw_connection()
    connections = [raw.driver_connection]
    raw.close()

    def checked_out(connection: Any, *rest: object) -> None:
        connection.set_progress_handler(step, 10)
        connections.append(connection)

    event.listen(engine, "checkout", checked_out)
    try:
        yield work
    finally:
        event.remove(engine, "checkout", checked_out)
        for connection in connections:
            connection.set_progress_handler(None, 0)


def growth(url: str, watch: Callable[[Any], Any], *, annotated: bool = False) -> tuple[Work, Work]:
    """What a result costs after a few trials, and after many."""
    storage = open_storage(url)
    store = OptunaStudyStore(storage)
    store.open_study(STUDY)
    backend = storage._backend  # type: ignore[attr-defined]  # of Optuna's cache
    assert isinstance(backend, RDBStorage)
    found = []
    for done in range(MANY + 1):
        if done in (FEW, MANY):
            with watch(backend.engine) as work:
                one_result(store, done)
            found.append(dict(work))
        else:
            one_result(store, done)
        if annotated:
            store.annotate(NAME, "mlflow_run_id", "a", trial=done)
    return found[0], found[1]


@pytest.mark.parametrize("annotated", [False, True])
def test_sqlite_looks_at_no_more_rows(tmp_path: Path, annotated: bool) -> None:
    few, many = growth(f"sqlite:///{tmp_path}/s.db", scanned, annotated=annotated)
    assert few["steps"] > 0
    # a deeper tree, not a longer list
    assert many["steps"] <= 1.1 * few["steps"]


@pytest.mark.integration
@pytest.mark.slow
def test_postgresql_sends_and_answers_no_more(postgresql_server: PostgresqlServer) -> None:
    few, many = growth(postgresql_server.new_database(), counted)
    assert few == many
    assert few["statements"] > 0


def test_a_journal_is_read_from_where_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_study_store(f"journal:{tmp_path}/s.journal")
    store.open_study(STUDY)
    loads = json.loads
    read = 0

    def count(*arguments: Any, **options: Any) -> Any:
        nonlocal read
        read += 1
        return loads(*arguments, **options)

    found = []
    for done in range(MANY + 1):
        read = 0
        with monkeypatch.context() as patch:
            patch.setattr(json, "loads", count)
            one_result(store, done)
        found.append(read)
    assert found[FEW] == found[MANY] > 0


def test_a_history_makes_the_records_of_ended_trials_once(tmp_path: Path) -> None:
    store = open_study_store(f"journal:{tmp_path}/s.journal")
    store.open_study(STUDY)
    for seed in range(3):
        one_result(store, seed)
    first = store.history(NAME)
    running = store.ask(NAME, trial_spec(seed=3))
    store.annotate(NAME, "mlflow_run_id", "a", trial=1)
    second = store.history(NAME)
    assert first is not None
    assert second is not None
    kept = [a is b for a, b in zip(first.trials, second.trials, strict=False)]
    assert kept == [True, False, True]
    assert second.trials[1].mlflow_run_id == "a"
    store.tell(NAME, completed(running))
    third = store.history(NAME)
    assert third is not None
    assert third.trials[running].outcome == completed(running)


def test_of_many_writers_to_sqlite_none_gets_a_number_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    open_study_store(url).open_study(STUDY)
    start = threading.Barrier(4)
    numbers: list[int] = []

    def write(writer: int) -> None:
        store = open_study_store(url)
        start.wait()
        numbers.extend(store.ask(NAME, trial_spec(seed=10 * writer + n)) for n in range(6))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(24))
