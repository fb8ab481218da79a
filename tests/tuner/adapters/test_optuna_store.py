"""The contract over every storage that Optuna offers us."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from tests.contracts.study_store import Reopen, StudyStoreContract
from tuner.adapters.optuna_store import OptunaStudyStore, open_study_store
from tuner.ports import StudyStore


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
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL server of our own on a free port of 127.0.0.1."""
    binaries = _postgresql_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    as_user = _without_root()
    if as_user is None:
        pytest.skip("PostgreSQL does not run as root, and setpriv or user nobody is missing")
    folder = Path(tempfile.mkdtemp(prefix="tuner-pg-"))
    data = folder / "data"
    password_file = folder / "password"
    password_file.write_text("s3cret-canary", encoding="utf-8")
    if as_user:
        for path in (folder, password_file):
            shutil.chown(path, "nobody")
    port = _free_port()
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "ann", "-A", "scram-sha-256"]
    control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    try:
        _check([*as_user, *initdb, f"--pwfile={password_file}", "--no-sync"], folder)
        _check([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            yield f"postgresql+psycopg2://ann:s3cret-canary@127.0.0.1:{port}/postgres"
        finally:
            _check([*control, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def _postgresql_binaries() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        folders.insert(0, Path(on_path).parent)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


def _without_root() -> list[str] | None:
    """Command prefix that drops root's rights; empty where there are none to drop."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return None
    return [setpriv, "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check(command: list[str], folder: Path) -> None:
    # output to a file: the server that pg_ctl starts would hold a pipe open
    with (folder / "commands").open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command, cwd=folder, stdout=output, stderr=output, timeout=50, check=False
        )
    assert done.returncode == 0, (folder / "commands").read_text(encoding="utf-8")
