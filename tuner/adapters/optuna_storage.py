"""Optuna storages by URL, and their faults in the user's words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, get_storage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from tuner.adapters.optuna_database import FlatDatabase
from tuner.adapters.optuna_journal import LockedJournalBackend
from tuner.adapters.outages import is_outage
from tuner.adapters.redact import redact_text, redact_url
from tuner.errors import ConfigurationError, StoreError, StoreUnreachableError

__all__ = ["JOURNAL_PREFIX", "engine_options", "open_storage", "store_errors"]

JOURNAL_PREFIX = "journal:"
CONNECT_TIMEOUT_S = 10
BUSY_TIMEOUT_S = 30
_DEAD_PEER = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A server whose machine vanished is given up after some 20 s, not after the kernel's 15 min."""

OPENING_ATTEMPTS = 3
OPENING_PAUSE_S = 0.5
FORMS = "journal:PATH, sqlite:///PATH or postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE"


def open_storage(url: str) -> BaseStorage:
    """Open a storage for studies, creating file, folder and tables as needed.

    Args:
        url: `journal:PATH` for an append-only file, or a database URL of SQLAlchemy
            (`sqlite:///PATH`, `postgresql+psycopg2://…`).

    Raises:
        ConfigurationError: If the URL is malformed.
        StoreError: If its driver is missing, or the storage cannot be reached.

    No message ever holds a password.
    """
    # a line per study and trial would break up the progress view
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url.startswith(JOURNAL_PREFIX):
        return _open_journal(Path(url.removeprefix(JOURNAL_PREFIX)))
    return _open_database(url)


@contextmanager
def store_errors(location: str) -> Iterator[None]:
    """Turn what Optuna, the database or the file system raises into a `StoreError`.

    Raises:
        StoreUnreachableError: If the store is away for now, and may come back.
        StoreError: For every other fault of it.
    """
    try:
        yield
    except (
        StorageInternalError,
        DuplicatedStudyError,
        SQLAlchemyError,
        OSError,
    ) as error:
        if is_outage(error):
            raise StoreUnreachableError(
                f"the study store {location} is away: {_reason(error)}"
            ) from error
        raise StoreError(
            f"the study store {location} failed: {_reason(error)}; "
            "what was written before is kept: once the store is back, repeat the command"
        ) from error


def _open_journal(path: Path) -> BaseStorage:
    if not path.name:
        raise ConfigurationError("journal: needs a path, as in journal:runs/studies.journal")
    with store_errors(f"{JOURNAL_PREFIX}{path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(LockedJournalBackend(path))


def _open_database(url: str) -> BaseStorage:
    shown = redact_url(url)
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        parsed.get_dialect()
    except (SQLAlchemyError, ValueError) as error:
        raise ConfigurationError(
            f"storage {shown} is no known storage URL; expected {FORMS}"
        ) from error
    except ImportError as error:
        raise _missing_driver(shown, error) from error
    try:
        if backend == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        return get_storage(_create_or_open(url))
    except ImportError as error:
        raise _missing_driver(shown, error) from error
    except RuntimeError as error:
        # Optuna's check of the tables' version
        raise StoreError(f"storage {shown} cannot be used: {error}") from error
    except (StorageInternalError, SQLAlchemyError, OSError) as error:
        raise StoreError(
            f"storage {shown} cannot be opened: {_reason(error)}; "
            "check that the database runs, and its address, name, user and password"
        ) from error


def _create_or_open(url: str) -> FlatDatabase:
    """Two drivers that create the tables at once stand in each other's way, but only once."""
    for _ in range(OPENING_ATTEMPTS - 1):
        try:
            return FlatDatabase(url, engine_kwargs=engine_options(url))
        except (StorageInternalError, IntegrityError, ProgrammingError, OperationalError) as error:
            if "exist" not in str(error) and "UNIQUE" not in str(error):
                raise
            time.sleep(OPENING_PAUSE_S)
    return FlatDatabase(url, engine_kwargs=engine_options(url))


def engine_options(url: str) -> dict[str, Any]:
    """Options for `sqlalchemy.create_engine`: time limits, and connections that are checked.

    Args:
        url: A database URL; what it says itself goes first.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        # another process may be reading
        return {} if "timeout" in parsed.query else {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    options: dict[str, Any] = {
        # a server that restarted leaves dead connections in the pool
        "pool_pre_ping": True,
        "pool_size": 2,
    }
    limits: dict[str, int] = {}
    if backend in ("postgresql", "mysql"):
        limits["connect_timeout"] = CONNECT_TIMEOUT_S
    if parsed.get_driver_name() in ("psycopg2", "psycopg"):
        limits |= _DEAD_PEER
    options["connect_args"] = {k: v for k, v in limits.items() if k not in parsed.query}
    return options


def _missing_driver(shown: str, error: ImportError) -> StoreError:
    return StoreError(
        f"storage {shown} needs a database driver that is not installed ({_reason(error)}); "
        "for PostgreSQL: pip install 'seal-pose-tuner[postgresql]'"
    )


def _reason(error: BaseException) -> str:
    """The innermost cause in one line.

    SQLAlchemy's own text quotes the statement and its values; the driver's does not.
    """
    cause: BaseException = error
    while True:
        inner = getattr(cause, "orig", None) or cause.__cause__
        if not isinstance(inner, BaseException):
            break
        cause = inner
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return redact_text(lines[0]) if lines else type(cause).__name__
