"""Noticing SIGINT and SIGTERM while Ray runs (no Ray in here)."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["SignalGuard", "pending_signal"]

INTERRUPT_GRACE_S = 10.0
"""How long a user's Ctrl-C lets running epochs go on, if nobody says otherwise."""

TERMINATE_GRACE_S = 1.0
"""The same for SIGTERM: a Ray job that is stopped is killed after 3 s."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Tune installs a handler for SIGUSR1 and leaves it behind
_RESTORED = (*_SIGNALS, signal.SIGUSR1)


_guards: list[SignalGuard] = []


def pending_signal() -> int | None:
    """The signal that asked a guard for the end, for those who wait within its block."""
    numbers = (guard.signal_number for guard in reversed(_guards))
    return next((number for number in numbers if number is not None), None)


class SignalGuard:
    """Records the first SIGINT or SIGTERM instead of dying from it.

    A second signal goes to whoever handled it before, so that a user can always leave. Ray
    installs a handler of its own for SIGTERM when it starts: enter the guard after that. Outside
    the main thread, where Python allows no handlers, the guard does nothing.

    Args:
        grace_s: How long running epochs may still take after either, seconds; None for 10 s after
            SIGINT and 1 s after SIGTERM.
    """

    def __init__(self, *, grace_s: float | None = None) -> None:
        self.signal_number: int | None = None
        self._grace_s = grace_s
        self._earlier: dict[int, Any] = {}

    @property
    def received(self) -> bool:
        """Whether a signal has come."""
        return self.signal_number is not None

    @property
    def grace_s(self) -> float:
        """Seconds that running epochs may still take."""
        if self._grace_s is not None:
            return self._grace_s
        return INTERRUPT_GRACE_S if self.signal_number == signal.SIGINT else TERMINATE_GRACE_S

    @property
    def signal_name(self) -> str:
        """Name of the signal that came."""
        return signal.Signals(self.signal_number).name if self.signal_number else ""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.getsignal(number) for number in _RESTORED}
            for number in _SIGNALS:
                signal.signal(number, self._record)
        _guards.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _guards.remove(self)
        self._restore()

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            self._restore()
            signal.raise_signal(number)
        self.signal_number = number

    def _restore(self) -> None:
        for number, handler in self._earlier.items():
            # None: installed by C code, which Python cannot put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._earlier = {}
