"""One driver per run, wherever it runs: a lease in the study store, kept alive by a heartbeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from tuner.errors import ConfigurationError, LeaseLostError, StoreError, StoreUnreachableError
from tuner.lease_holder import Holder, is_gone, lives_here

__all__ = ["LEASE_TIMEOUT_S", "RENEW_EVERY_S", "Lease", "LeaseRow", "LeaseTable", "lease_lost"]
__all__ += ["take_lease"]

LEASE_TIMEOUT_S = 60.0
"""A lease that was not renewed for so long is anybody's."""

RENEW_EVERY_S = 5.0

_LEAST_RENEWALS = 6
"""So many renewals must stay away before our eyes, however old a lease is: after an outage of the
store its holder may first have to give up a dead connection, which takes some 20 s."""

_POLL_S = 0.2


@dataclass(frozen=True)
class LeaseRow:
    """A run's lease as the store has it.

    Attributes:
        holder: Who holds it; None if it was given back.
        attempt: How many drivers have held it, this one included.
        beats: How often it was renewed; tells two looks at it apart without any clock.
        age_s: Time since it was last renewed, by a clock that all drivers share; None where there
            is none.
        since_s: When this holder took it, seconds since 1970, for people.
    """

    holder: Holder | None
    attempt: int
    beats: int
    age_s: float | None
    since_s: float

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since_s, UTC)
        return f"{self.holder}, since {since:%Y-%m-%d %H:%M:%S} UTC"


class LeaseTable(Protocol):
    """Where leases lie. Each method is one atomic step, whoever else does the same.

    Methods raise `StoreUnreachableError` while the store is away.
    """

    def read(self, run: str) -> LeaseRow | None:
        """The lease of a run; None if it never had one."""
        ...

    def take(self, run: str, holder: Holder, seen: LeaseRow | None) -> int | None:
        """Take a lease that still is as it was seen; the attempt, or None if it has changed."""
        ...

    def renew(self, run: str, holder: Holder, attempt: int) -> bool:
        """Renew a lease; False if it is not this holder's any more."""
        ...

    def release(self, run: str, holder: Holder, attempt: int) -> None:
        """Give a lease back; nothing happens if it is not this holder's any more."""
        ...

    def held(
        self, run: str, holder: Holder, attempt: int, within: Any
    ) -> AbstractContextManager[None]:
        """Keep others from taking a lease for the length of a block, which writes to the store.

        Args:
            run: Name of the run.
            holder: Who should hold its lease.
            attempt: What `take` gave.
            within: The open transaction that the block belongs to; None for a store without.

        Raises:
            LeaseLostError: If another driver has taken it; the block is not entered.
        """
        ...


def lease_lost(run: str, row: LeaseRow | None) -> LeaseLostError:
    """What a driver is told whose lease now is as given."""
    taker = "another driver" if row is None or row.holder is None else str(row)
    return LeaseLostError(
        f"run {run!r} was taken over by {taker}, because this driver had not been heard of for "
        "too long (was it, or its machine, paused?); it stops and leaves the run to the other one"
    )


def boot_time_s() -> float:
    """Seconds since the boot; unlike the monotonic clock it counts a machine's sleep, too."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Lease:
    """A lease that this process holds, renewed by a thread of its own until it is released.

    Args:
        table: Where it lies.
        run: Name of the run.
        holder: This process.
        attempt: What `LeaseTable.take` gave.
        timeout_s: When others may take it over, if it is not renewed.
        renew_s: Pause between renewals.
    """

    def __init__(
        self,
        table: LeaseTable,
        run: str,
        holder: Holder,
        attempt: int,
        *,
        timeout_s: float = LEASE_TIMEOUT_S,
        renew_s: float = RENEW_EVERY_S,
    ) -> None:
        self.attempt = attempt
        self._table = table
        self._run = run
        self._holder = holder
        self._safe_s = timeout_s / 2
        self._renew_s = renew_s
        self._renewed_s = boot_time_s()
        self._tried_s = self._renewed_s
        self._lost: LeaseLostError | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the lease is still ours; asks the store only where that is in doubt.

        Raises:
            LeaseLostError: If another driver has taken it.
            StoreUnreachableError: If in doubt and the store is away: then nobody can take it,
                and nothing can be written either.
        """
        if self._lost is None and boot_time_s() - self._renewed_s > self._safe_s:
            self._renew()
        if self._lost is not None:
            raise self._lost

    def check_unless_away(self) -> None:
        """As `check`, for what is written elsewhere and goes on while the store is away.

        Raises:
            LeaseLostError: If another driver has taken it.
        """
        if self._lost is None and boot_time_s() - self._tried_s < self._safe_s:
            return
        try:
            self.check()
        except StoreUnreachableError:
            return

    def held(self, within: Any) -> AbstractContextManager[None]:
        """Keep others from taking the lease while a block writes; see `LeaseTable.held`."""
        return self._table.held(self._run, self._holder, self.attempt, within)

    def release(self) -> None:
        """Give the lease back, if the store can be reached; never raises."""
        self._ended.set()
        try:
            with self._lock:
                self._table.release(self._run, self._holder, self.attempt)
        except StoreError:
            return  # it runs out by itself

    def _keep(self) -> None:
        while not self._ended.wait(self._renew_s):
            try:
                self._renew()
            except StoreError:
                continue  # `check` says so where it matters
            if self._lost is not None:
                return

    def _renew(self) -> None:
        with self._lock:
            asked_s = boot_time_s()
            self._tried_s = asked_s
            if self._ended.is_set() or self._lost is not None:
                return
            if self._table.renew(self._run, self._holder, self.attempt):
                self._renewed_s = asked_s
                return
            self._lost = lease_lost(self._run, self._table.read(self._run))


def take_lease(
    table: LeaseTable,
    run: str,
    holder: Holder,
    *,
    say: Callable[[str], None],
    timeout_s: float = LEASE_TIMEOUT_S,
    renew_s: float = RENEW_EVERY_S,
) -> Lease:
    """Take a run's lease: at once if it is free, or its holder's process certainly has ended.

    A holder that may be dead is watched, by our own clock: a heartbeat shows that it lives;
    without one its lease is taken over when it has run out before our eyes. Clocks of other
    machines prove nothing, and neither does a lease that is old: the store may have been away.

    Raises:
        ConfigurationError: If another driver holds it.
        StoreError: If the store failed.
    """
    watch: _Watch | None = None
    while True:
        row = table.read(run)
        other = None if row is None else row.holder
        silent = row is not None and watch is not None and watch.is_silent(row)
        if row is None or other is None or is_gone(other) or silent:
            attempt = table.take(run, holder, row)
            if attempt is not None:
                return Lease(table, run, holder, attempt, timeout_s=timeout_s, renew_s=renew_s)
            continue
        if lives_here(other) or (watch is not None and watch.has_beaten(row)):
            raise ConfigurationError(
                f"run {run!r} is being driven by {row}; wait for it, stop it, or give this run "
                "another --name"
            )
        if watch is None:
            watch = _Watch(row, timeout_s=timeout_s, renew_s=renew_s)
            say(
                f"run {run!r} is held by {row}; waiting for a sign of life, {watch.needed_s:.3g} s"
            )
        time.sleep(_POLL_S)


class _Watch:
    """How long a lease has not changed before our eyes."""

    def __init__(self, row: LeaseRow, *, timeout_s: float, renew_s: float) -> None:
        self._mark = _mark(row)
        self._longest_look_s = max(renew_s, 2 * _POLL_S)
        self._looked_s = time.monotonic()
        self._watched_s = 0.0
        left_s = timeout_s - (row.age_s or 0.0)
        self.needed_s = min(timeout_s, max(_LEAST_RENEWALS * renew_s, left_s))

    def has_beaten(self, row: LeaseRow) -> bool:
        return _mark(row) != self._mark

    def is_silent(self, row: LeaseRow) -> bool:
        """Whether it has been watched for long enough, up to this look at it."""
        now_s = time.monotonic()
        # a look that took long: the store was away, and the holder could not renew either
        self._watched_s += min(now_s - self._looked_s, self._longest_look_s)
        self._looked_s = now_s
        return not self.has_beaten(row) and self._watched_s > self.needed_s


def _mark(row: LeaseRow) -> tuple[int, int]:
    return row.attempt, row.beats
