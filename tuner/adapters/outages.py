"""Which faults of a database or file pass by themselves."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

__all__ = ["is_outage"]

_PASSING_CLASSES = ("08", "40", "53", "57", "58")
"""First two characters of SQLSTATE: connection, rollback, resources, operator, system."""

_PASSING_STATES = ("25006", "55P03")
"""Read-only while servers change places; a lock that was not to be had."""

_LASTING_WORDS = (
    *("authentication", "does not exist", "pg_hba", "no password", "permission denied"),
    *("is not permitted", "unsupported", "invalid"),
)
"""What a refused connection says where the address or the password is wrong."""

_PASSING_SQLITE = ("locked", "is full", "disk i/o error", "unable to open")

_PASSING_NUMBERS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EAGAIN),
        *(errno.EINTR, errno.ENOLCK, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN),
        *(errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE),
    }
)
"""A full disk, and a network file system that is away."""


def is_outage(error: BaseException) -> bool:
    """Whether what failed may succeed later, with nothing changed but time.

    Args:
        error: As caught; its causes are looked at, too.
    """
    return any(_passes(cause) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _passes(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _statement_passes(error)
    if isinstance(error, (PoolTimeoutError, PendingRollbackError)):
        return True
    return isinstance(error, OSError) and error.errno in _PASSING_NUMBERS


def _statement_passes(error: DBAPIError) -> bool:
    text = str(error.orig).lower()
    if type(error.orig).__module__.startswith("sqlite3"):
        return isinstance(error, OperationalError) and any(w in text for w in _PASSING_SQLITE)
    state = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None)
    if state:
        return state.startswith(_PASSING_CLASSES) or state in _PASSING_STATES
    refused = any(word in text for word in _LASTING_WORDS)
    return isinstance(error, (OperationalError, InterfaceError)) and not refused
