"""Which faults are waited out."""

from __future__ import annotations

import errno
import sqlite3

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, PendingRollbackError

from tuner.adapters.outages import is_outage


class DriverError(Exception):
    """An error of a database driver."""

    def __init__(self, text: str, pgcode: str | None = None) -> None:
        super().__init__(text)
        self.pgcode = pgcode


def from_sqlite(text: str) -> Exception:
    return OperationalError("SELECT 1", {}, sqlite3.OperationalError(text))


def from_postgresql(text: str, state: str | None = None) -> Exception:
    return OperationalError("SELECT 1", {}, DriverError(text, state))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (from_sqlite("database is locked"), True),
        (from_sqlite("database or disk is full"), True),
        (from_sqlite("disk I/O error"), True),
        (from_sqlite("no such table: trials"), False),
        (from_sqlite("attempt to write a readonly database"), False),
        (from_postgresql("connection refused"), True),
        (from_postgresql("server closed the connection unexpectedly"), True),
        (from_postgresql("FATAL: the database system is starting up"), True),
        (from_postgresql("terminating connection", "57P01"), True),
        (from_postgresql("could not extend file", "53100"), True),
        (from_postgresql("deadlock detected", "40P01"), True),
        (from_postgresql("lock not available", "55P03"), True),
        (from_postgresql("read-only transaction", "25006"), True),
        (from_postgresql("permission denied for table", "42501"), False),
        (from_postgresql('FATAL: password authentication failed for user "ann"'), False),
        (from_postgresql('FATAL: database "tuner" does not exist'), False),
        (from_postgresql("no pg_hba.conf entry for host"), False),
        (IntegrityError("INSERT", {}, DriverError("duplicate key", "23505")), False),
        (DBAPIError("SELECT", {}, DriverError("?"), connection_invalidated=True), True),
        (PendingRollbackError("can't reconnect until rolled back"), True),
        (ValueError("a value"), False),
    ],
    ids=str,
)
def test_what_passes_by_itself(error: Exception, passes: bool) -> None:
    assert is_outage(error) is passes
    wrapped = StorageInternalError("during the commit")
    wrapped.__cause__ = error
    assert is_outage(wrapped) is passes
