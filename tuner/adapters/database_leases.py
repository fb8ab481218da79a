"""Leases as rows of a table in the study store's database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tuner.adapters.optuna_storage import engine_options, store_errors
from tuner.adapters.redact import redact_url
from tuner.lease import LeaseRow, lease_lost
from tuner.lease_holder import Holder

__all__ = ["DatabaseLeases"]

_METADATA = sql.MetaData()
_LEASES = sql.Table(
    "tuner_leases",
    _METADATA,
    sql.Column("run", sql.String(120), primary_key=True),
    sql.Column("holder", sql.String(64), nullable=False),
    sql.Column("host", sql.String(255), nullable=False),
    sql.Column("process", sql.BigInteger, nullable=False),
    sql.Column("place", sql.String(512), nullable=False),
    sql.Column("started", sql.String(64), nullable=False),
    sql.Column("attempt", sql.BigInteger, nullable=False),
    sql.Column("beats", sql.BigInteger, nullable=False),
    sql.Column("beat_s", sql.Double, nullable=False),
    sql.Column("since_s", sql.Double, nullable=False),
)
_FREE = ""
"""Holder of a lease that was given back."""

_CLOCKS = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "CAST(extract(epoch from clock_timestamp()) AS double precision)",
    "mysql": "(unix_timestamp(now(6)) + 0e0)",
}
"""Seconds since 1970 by the database's own clock, so that no two machines' clocks are compared."""


class DatabaseLeases:
    """`LeaseTable` in a database: each change is one conditional statement.

    It has connections of its own: a heartbeat must not wait for a transaction of the driver.

    Args:
        url: SQLAlchemy's URL of the database; the table is created where it is missing.

    Raises:
        StoreError: If the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._location = redact_url(url)
        self._engine: Engine = sql.create_engine(url, **engine_options(url))
        dialect = self._engine.dialect.name
        self._clock: sql.ColumnElement[float] = sql.literal_column(
            _CLOCKS.get(dialect, "extract(epoch from now())")
        )
        with store_errors(self._location):
            self._create_table()

    def read(self, run: str) -> LeaseRow | None:
        """See `LeaseTable`."""
        with store_errors(self._location), self._engine.begin() as connection:
            row = connection.execute(self._select(run)).mappings().one_or_none()
        return None if row is None else _to_row(row)

    def take(self, run: str, holder: Holder, seen: LeaseRow | None) -> int | None:
        """See `LeaseTable`."""
        values = {
            "holder": holder.id,
            "host": holder.host[:255],
            "process": holder.process,
            "place": holder.place,
            "started": holder.started,
            "beats": 0,
            "beat_s": self._clock,
            "since_s": self._clock,
        }
        if seen is None:
            row = {"run": run, "attempt": 1, **values}
            with store_errors(self._location):
                try:
                    self._changed(_LEASES.insert().values(row))
                except IntegrityError:
                    return None
            return 1
        attempt = seen.attempt + 1
        change = _LEASES.update().where(
            _LEASES.c.run == run,
            _LEASES.c.holder == (_FREE if seen.holder is None else seen.holder.id),
            _LEASES.c.attempt == seen.attempt,
            _LEASES.c.beats == seen.beats,
        )
        with store_errors(self._location):
            taken = self._changed(change.values({"attempt": attempt, **values}))
        return attempt if taken else None

    def renew(self, run: str, holder: Holder, attempt: int) -> bool:
        """See `LeaseTable`."""
        values = {"beats": _LEASES.c.beats + 1, "beat_s": self._clock}
        with store_errors(self._location):
            return self._changed(_held(run, holder, attempt).values(values))

    def release(self, run: str, holder: Holder, attempt: int) -> None:
        """See `LeaseTable`."""
        with store_errors(self._location):
            self._changed(_held(run, holder, attempt).values({"holder": _FREE}))
            self._engine.dispose()

    @contextmanager
    def held(self, run: str, holder: Holder, attempt: int, within: Any) -> Iterator[None]:
        """See `LeaseTable`; a transaction of SQLite must have begun as IMMEDIATE."""
        # locks the row: who takes the lease over waits for the transaction's end
        found = within.execute(self._select(run).with_for_update(read=True)).mappings()
        row = found.one_or_none()
        if row is None or (row["holder"], row["attempt"]) != (holder.id, attempt):
            raise lease_lost(run, None if row is None else _to_row(row))
        yield

    def _select(self, run: str) -> sql.Select[Any]:
        age_s = (self._clock - _LEASES.c.beat_s).label("age_s")
        return sql.select(*_LEASES.columns, age_s).where(_LEASES.c.run == run)

    def _changed(self, statement: sql.Insert | sql.Update) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def _create_table(self) -> None:
        with suppress(SQLAlchemyError):
            _METADATA.create_all(self._engine)
            return
        # two drivers at once: the other one has made it
        _METADATA.create_all(self._engine)


def _held(run: str, holder: Holder, attempt: int) -> sql.Update:
    return _LEASES.update().where(
        _LEASES.c.run == run, _LEASES.c.holder == holder.id, _LEASES.c.attempt == attempt
    )


def _to_row(row: Mapping[Any, Any]) -> LeaseRow:
    holder = Holder(
        id=row["holder"],
        host=row["host"],
        process=row["process"],
        place=row["place"],
        started=row["started"],
    )
    return LeaseRow(
        holder=None if row["holder"] == _FREE else holder,
        attempt=row["attempt"],
        beats=row["beats"],
        age_s=float(row["age_s"]),
        since_s=row["since_s"],
    )
