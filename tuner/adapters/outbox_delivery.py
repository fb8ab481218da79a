"""The background thread that carries events from an outbox to where people look at them."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any, Protocol

from tuner.adapters.outbox import Outbox, QueuedEvent
from tuner.adapters.redact import redact_text

__all__ = ["Delivery", "EventHandler", "RejectedEventError"]

_logger = logging.getLogger(__name__)


class RejectedEventError(Exception):
    """The destination understood an event and will never take it."""


class EventHandler(Protocol):
    """Applies events at the destination."""

    def apply(self, events: Sequence[dict[str, Any]]) -> None:
        """Apply events in order; applying some of them again must change nothing.

        Raises:
            RejectedEventError: If one of them can never be applied.
            Exception: Anything else is taken for an outage, and the batch is tried again.
        """
        ...


class Delivery:
    """Delivers an outbox's events in order, in batches, from one daemon thread.

    An outage means a growing backlog, one warning, and ever slower attempts; it is never
    felt by the caller. Of several processes on one outbox one delivers at a time, held apart by
    a lock file that the operating system releases when a process dies.

    Args:
        outbox: Where the events are.
        make_handler: Builds the handler, in the thread, so that slow imports cost nothing.
        destination: What to call the destination in log lines, without secrets.
        linger_s: How long to gather events into one batch.
        batch_size: Most events in one batch.
        longest_wait_s: Bound of the pause between two attempts.
    """

    def __init__(
        self,
        outbox: Outbox,
        make_handler: Callable[[], EventHandler],
        *,
        destination: str,
        linger_s: float = 1.0,
        batch_size: int = 500,
        longest_wait_s: float = 30.0,
    ) -> None:
        self._outbox = outbox
        self._make_handler = make_handler
        self._destination = destination
        self._linger_s = linger_s
        self._batch_size = batch_size
        self._longest_wait_s = longest_wait_s
        self._handler: EventHandler | None = None
        self._failures = 0
        self._single_left = 0
        self._blocked_told = False
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking-outbox", daemon=True)

    def start(self) -> None:
        """Start the thread, if it has not been started."""
        if not self._thread.is_alive() and not self._closing.is_set():
            self._thread.start()

    def notify(self) -> None:
        """Say that an event has been queued."""
        self._wake.set()

    def close(self, *, timeout_s: float) -> bool:
        """Deliver what is queued, for at most `timeout_s`; return whether the thread ended."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, timeout_s))
        self._abandoned.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(0.2)
        return not self._thread.is_alive()

    def _run(self) -> None:
        lock: IO[str] | None = None
        self._wait_for_events()
        while not self._abandoned.is_set():
            # Read before the queue is: what was queued before closing is then seen.
            closing = self._closing.is_set()
            try:
                lock = lock or self._try_lock()
                if lock is None:
                    self._pause(min(1.0, self._longest_wait_s))
                    continue
                if not self._deliver_some():
                    if closing:
                        break
                    self._wait_for_events()
            except Exception as error:  # noqa: BLE001 - whatever broke, training must go on
                if self._abandoned.is_set():
                    break
                self._note_outage(error)
                self._pause(self._pause_s())
        if lock is not None:
            lock.close()

    def _deliver_some(self) -> bool:
        """Deliver one batch; False if there was nothing to deliver."""
        events = self._outbox.peek(1 if self._single_left else self._batch_size)
        if not events:
            return False
        if self._handler is None:
            self._handler = self._make_handler()
        try:
            self._handler.apply([event.body for event in events])
        except RejectedEventError as error:
            self._on_rejected(events, error)
            return True
        self._outbox.acknowledge(events[-1].position)
        self._single_left = max(0, self._single_left - 1)
        self._note_success()
        return True

    def _on_rejected(self, events: list[QueuedEvent], error: RejectedEventError) -> None:
        """Find the event that is to blame by trying one at a time; then put it aside."""
        if self._single_left == 0:
            self._single_left = len(events)
            return
        reason = redact_text(str(error))
        self._outbox.reject(events[0].position, reason)
        self._single_left -= 1
        _logger.warning(
            "%s refused a tracking event for good (%s); training is not affected, "
            "the event is kept in table `rejected` of %s: %s",
            *(self._destination, events[0].body.get("kind"), self._outbox.path, reason),
        )

    def _wait_for_events(self) -> None:
        self._wake.wait()
        if not self._closing.is_set():
            self._closing.wait(self._linger_s)
        self._wake.clear()

    def _pause(self, seconds: float) -> None:
        if self._closing.is_set():
            self._abandoned.wait(min(seconds, 0.5))
        else:
            self._closing.wait(seconds)

    def _pause_s(self) -> float:
        return float(min(self._longest_wait_s, 0.5 * 2.0 ** min(self._failures - 1, 16)))

    def _note_outage(self, error: Exception) -> None:
        self._failures += 1
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        try:
            pending = str(self._outbox.pending())
        except sqlite3.Error:
            pending = "?"
        _logger.log(
            level,
            "cannot deliver to %s; the run goes on, events (%s now) are kept in %s "
            "and delivered when it is back. Cause: %s",
            *(self._destination, pending, self._outbox.path, _one_line(error)),
        )

    def _note_success(self) -> None:
        if self._failures:
            _logger.warning(
                "%s is back after %d failed attempts; %d events left to deliver",
                *(self._destination, self._failures, self._outbox.pending()),
            )
        self._failures = 0

    def _try_lock(self) -> IO[str] | None:
        path = self._outbox.path.with_name(self._outbox.path.name + ".lock")
        handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            if not self._blocked_told:
                self._blocked_told = True
                _logger.warning("another process delivers %s; waiting for it", self._outbox.path)
            return None
        return handle


def _one_line(error: Exception) -> str:
    text = " ".join(redact_text(f"{type(error).__name__}: {error}").split())
    return text if len(text) <= 300 else f"{text[:297]}..."
