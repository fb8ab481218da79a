"""Optuna storages by URL, and their faults in the user's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from tuner.adapters.optuna_journal import LockedJournalBackend
from tuner.adapters.redact import redact_text, redact_url
from tuner.errors import ConfigurationError, StoreError

__all__ = ["open_storage", "store_errors"]

JOURNAL_PREFIX = "journal:"
CONNECT_TIMEOUT_S = 10
BUSY_TIMEOUT_S = 30
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
    """Turn what Optuna, the database or the file system raises into a `StoreError`."""
    try:
        yield
    except (
        StorageInternalError,
        DuplicatedStudyError,
        SQLAlchemyError,
        OSError,
    ) as error:
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
    engine_options = _engine_options(parsed, backend)
    try:
        if backend == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        return get_storage(RDBStorage(url, engine_kwargs=engine_options))
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


def _engine_options(url: URL, backend: str) -> dict[str, object]:
    if backend == "sqlite":
        # another process may be reading; what the URL says goes first
        return {} if "timeout" in url.query else {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    options: dict[str, object] = {
        # a server that restarted leaves dead connections in the pool
        "pool_pre_ping": True,
        "pool_size": 2,
    }
    if backend in ("postgresql", "mysql") and "connect_timeout" not in url.query:
        options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_S}
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
