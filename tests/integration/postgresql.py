"""A PostgreSQL server of our own: to be stopped, restarted, and asked for empty databases."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

__all__ = ["PASSWORD", "PostgresqlServer", "postgresql_server", "why_absent"]

PASSWORD = "s3cret-canary"
"""No message may ever hold it."""

COMMAND_LIMIT_S = 50


class PostgresqlServer:
    """A server on a free port of 127.0.0.1, with its data in a new folder.

    The folder is not below `tmp_path`: PostgreSQL refuses to run as root, another user cannot
    enter a test's folder, and the path of a socket is bounded.

    Attributes:
        url: Database URL of its first database, password and all.
    """

    def __init__(self) -> None:
        reason = why_absent()
        if reason is not None:
            raise RuntimeError(reason)
        binaries, as_user = _binaries(), _without_root()
        assert binaries is not None
        assert as_user is not None
        self._folder = Path(tempfile.mkdtemp(prefix="tuner-pg-"))
        self._data = self._folder / "data"
        self._port = _free_port()
        self._control = [*as_user, str(binaries / "pg_ctl"), "-D", str(self._data), "-w"]
        self._initdb = [*as_user, str(binaries / "initdb"), "-D", str(self._data)]
        self._names = itertools.count(1)
        self.url = self.url_of("postgres")

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.running():
                self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def url_of(self, database: str) -> str:
        """URL of a database of this server."""
        return f"postgresql+psycopg2://ann:{PASSWORD}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        self._check([*self._control, "-l", str(self._folder / "log"), "-o", options, "start"])

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is a crash, `fast` ends the connections in good order."""
        self._check([*self._control, "-m", mode, "stop"])

    def running(self) -> bool:
        """Whether it is started."""
        return (self._data / "postmaster.pid").exists()

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        psycopg2 = pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
        name = f"tuner_{next(self._names)}"
        connection = psycopg2.connect(self.url.replace("+psycopg2", ""))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        connection.close()
        return self.url_of(name)

    def _initialise(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            for path in (self._folder, password_file):
                shutil.chown(path, "nobody")
        access = ["-U", "ann", "-A", "scram-sha-256", f"--pwfile={password_file}", "--no-sync"]
        self._check([*self._initdb, *access])

    def _check(self, command: list[str]) -> None:
        # output to a file: the server that pg_ctl starts would hold a pipe open
        said = self._folder / "commands"
        with said.open("a", encoding="utf-8") as output:
            done = subprocess.run(
                command,
                cwd=self._folder,
                stdout=output,
                stderr=output,
                timeout=COMMAND_LIMIT_S,
                check=False,
            )
        assert done.returncode == 0, said.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server for the tests of one module, to be imported by it."""
    reason = why_absent()
    if reason is not None:
        pytest.skip(reason)
    with PostgresqlServer() as server:
        yield server


def why_absent() -> str | None:
    """Why no server can be started on this machine; None if one can."""
    if _binaries() is None:
        return "PostgreSQL's initdb and pg_ctl are not installed"
    if _without_root() is None:
        return "PostgreSQL does not run as root, and setpriv or user nobody is missing"
    return None


def _binaries() -> Path | None:
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
