"""Who holds a lease: a process that others can name, and on the same machine look for."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Holder", "is_gone", "is_here", "lives_here", "this_process"]

_PROC = Path("/proc")
_START_TIME = 19
"""Field of the start time in `/proc/PID/stat`, counted behind the command's name."""


@dataclass(frozen=True)
class Holder:
    """A driver's process.

    Attributes:
        id: Made up for this life of the driver; no other ever has it.
        host: Name of its machine, for people.
        process: Its id there.
        place: Boot and process namespace in which that id means something; empty if unknown.
        started: The kernel's start time of the process, since ids are used again.
    """

    id: str
    host: str
    process: int
    place: str
    started: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def this_process() -> Holder:
    """This process as a holder, with a new id."""
    number = os.getpid()
    return Holder(uuid.uuid4().hex, platform.node(), number, _place(), _started(number) or "")


def is_here(holder: Holder) -> bool:
    """Whether the process ids of a holder's place are those that we see."""
    return bool(holder.place) and holder.place == _place()


def is_gone(holder: Holder) -> bool:
    """Whether a holder certainly has ended; False where that cannot be known."""
    if not is_here(holder):
        return False
    started = _started(holder.process)
    if started is None or not holder.started:
        return _is_free(holder.process)
    return started != holder.started


def lives_here(holder: Holder) -> bool:
    """Whether a holder certainly is a process of this machine; False where it cannot be known."""
    return is_here(holder) and bool(holder.started) and _started(holder.process) == holder.started


def _place() -> str:
    """Machine, its boot, and the namespace of process ids; containers on it have others."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:  # no Linux
        return ""
    return f"{platform.node()} {boot} {namespace}"


def _started(process: int) -> str | None:
    """Start time in clock ticks since the boot; empty if it has ended, None if it is not shown."""
    try:
        text = (_PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # nothing there, or `/proc` is mounted so that others' processes are hidden
        return None
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[_START_TIME]


def _is_free(process: int) -> bool:
    """Whether no process has a number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return False
