"""SIGTERM and SIGINT outside the runner: leave through the same door as inside it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tuner.errors import RunInterruptedError

__all__ = ["terminable"]


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `RunInterruptedError` for a block, in the main thread.

    Raises:
        RunInterruptedError: When one of them arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise RunInterruptedError(number, f"stopped by {signal.Signals(number).name}")

    earlier = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
