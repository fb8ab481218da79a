"""The contract over every storage that Optuna offers us."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from tests.contracts.study_store import Reopen, StudyStoreContract
from tests.integration.postgresql import PostgresqlServer, postgresql_server
from tuner.adapters.optuna_store import OptunaStudyStore, open_study_store
from tuner.ports import StudyStore

__all__ = ["postgresql_server"]


class TestInMemory(StudyStoreContract):
    @pytest.fixture
    def store(self) -> StudyStore:
        return OptunaStudyStore(InMemoryStorage())

    @pytest.fixture
    def reopen(self, store: StudyStore) -> Reopen:
        return lambda: store  # nothing outlives the process


class UrlContract(StudyStoreContract):
    @pytest.fixture
    def store(self, url: str) -> StudyStore:
        return open_study_store(url)

    @pytest.fixture
    def reopen(self, url: str) -> Reopen:
        return lambda: open_study_store(url)


class TestJournal(UrlContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"journal:{tmp_path}/runs/studies.journal"


class TestSqlite(UrlContract):
    @pytest.fixture
    def url(self, tmp_path: Path, empty_database: Path) -> str:
        """A copy: making the tables takes longer than a test."""
        path = tmp_path / "studies.db"
        shutil.copy(empty_database, path)
        return f"sqlite:///{path}"


@pytest.mark.integration
@pytest.mark.slow
class TestPostgresql(UrlContract):
    @pytest.fixture
    def url(self, postgresql: str) -> str:
        """The same database, emptied: making one and its tables takes longer than a test."""
        _empty(postgresql)
        return postgresql


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "empty.db"
    open_study_store(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def postgresql(postgresql_server: PostgresqlServer) -> str:
    """URL of a database of our own."""
    return postgresql_server.url


def _empty(database: str) -> None:
    psycopg2 = pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    connection = psycopg2.connect(database.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        # the last test's store may still hold a lock
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
            "AND tablename NOT IN ('alembic_version', 'version_info')"
        )
        tables = ", ".join(name for (name,) in cursor.fetchall())
        if tables:
            cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    connection.close()
