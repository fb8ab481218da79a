"""A durable queue in one SQLite file: events wait here until a tracking server has them.

The file also keeps the small facts that must agree with the queue whenever the process is
killed: what has been queued before (so that nothing is queued twice) and which tracking run
belongs to which trial.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Outbox", "QueuedEvent"]

_logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (position INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run_ids (key TEXT PRIMARY KEY, run_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rejected (position INTEGER PRIMARY KEY, body TEXT, reason TEXT);
"""


@dataclass(frozen=True)
class QueuedEvent:
    """An event and its place in the queue (positions only ever grow)."""

    position: int
    body: dict[str, Any]


class Outbox:
    """Queue, facts and run ids in one SQLite file. Usable from several threads.

    Every method is one transaction. With the write-ahead log a commit needs no disk flush, yet
    survives SIGKILL of the process. A damaged file is moved aside: the queue is only
    a projection of the study store.

    Args:
        path: The file; its folder is created.
        busy_timeout_s: How long to wait while another process writes.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.RLock()
        self._overflow: deque[tuple[str, dict[str, str]]] = deque()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self._move_aside()
            _logger.warning(
                "the tracking queue %s is damaged (%s); it was moved to %s and a new one begun; "
                "events that it held can be restored from the study store",
                *(path, error, aside),
            )
            self._connection = self._connect()

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._path

    def append(self, body: Mapping[str, Any], facts: Mapping[str, str] | None = None) -> None:
        """Queue an event and keep facts with it, in one transaction.

        If the disk refuses (full, say), the event waits in memory for the next call.
        """
        with self._lock:
            self._overflow.append((json.dumps(body, allow_nan=False), dict(facts or {})))
            try:
                self._write_overflow()
            except sqlite3.Error as error:
                if len(self._overflow) == 1:
                    _logger.warning(
                        "cannot write the tracking queue %s (%s); events wait in memory. "
                        "Free disk space, or check the folder's permissions",
                        *(self._path, error),
                    )

    def peek(self, limit: int) -> list[QueuedEvent]:
        """The first `limit` events, in order."""
        with self._lock:
            if self._overflow:
                self._write_overflow()
            rows = self._connection.execute(
                "SELECT position, body FROM events ORDER BY position LIMIT ?", (limit,)
            ).fetchall()
        return [QueuedEvent(position, json.loads(body)) for position, body in rows]

    def acknowledge(self, position: int) -> None:
        """Remove every event up to and including `position`: they have been delivered."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM events WHERE position <= ?", (position,))

    def reject(self, position: int, reason: str) -> None:
        """Take an event that can never be delivered out of the queue, and keep it aside."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO rejected "
                "SELECT position, body, ? FROM events WHERE position = ?",
                (reason, position),
            )
            connection.execute("DELETE FROM events WHERE position = ?", (position,))

    def pending(self) -> int:
        """Number of events that are not delivered."""
        with self._lock:
            row = self._connection.execute("SELECT COUNT(*) FROM events").fetchone()
            return int(row[0]) + len(self._overflow)

    def rejected(self) -> list[tuple[dict[str, Any], str]]:
        """Events that were refused for good, each with the reason."""
        with self._lock:
            rows = self._connection.execute("SELECT body, reason FROM rejected").fetchall()
        return [(json.loads(body), reason) for body, reason in rows]

    def facts(self) -> dict[str, str]:
        """All facts kept so far."""
        with self._lock:
            return dict(self._connection.execute("SELECT key, value FROM facts").fetchall())

    def run_ids(self) -> dict[str, str]:
        """Tracking run id by key."""
        with self._lock:
            return dict(self._connection.execute("SELECT key, run_id FROM run_ids").fetchall())

    def remember_run_id(self, key: str, run_id: str) -> None:
        """Keep the tracking run of a key."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO run_ids VALUES (?, ?)", (key, run_id))

    def forget_run_id(self, key: str) -> None:
        """Drop the tracking run of a key: it no longer exists."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM run_ids WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _write_overflow(self) -> None:
        with self._transaction() as connection:
            for body, facts in self._overflow:
                connection.execute("INSERT INTO events (body) VALUES (?)", (body,))
                connection.executemany(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?)", list(facts.items())
                )
        self._overflow.clear()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self) -> Path:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            number += 1
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return aside
