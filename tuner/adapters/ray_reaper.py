"""Ends the processes of a private Ray whose driver was killed.

Ray ties its main processes to the driver's life, but its agents, and workers in the middle of an
epoch, outlive a SIGKILL by up to a minute. A small process of its own session holds the reading
end of a pipe: when that ends without a farewell, the driver is gone. It runs this file as a
script, so nothing but the standard library is imported here.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Reaper", "session_processes"]

_FAREWELL = b"farewell"
_GRACE_S = 1.0
_PATIENCE_S = 15.0
_EMPTY_LOOKS = 5
_PROC = Path("/proc")


class Reaper:
    """Watches over the Ray session of this process, from the driver's side.

    To be made before `ray.init`, which takes seconds in which the driver may be killed, too.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if _PROC.is_dir():
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # a signal to the driver's group, or its terminal, is not for the watcher
                start_new_session=True,
            )

    def dismiss(self) -> None:
        """End the watch: Ray was shut down in good order."""
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.communicate(_FAREWELL, timeout=_PATIENCE_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process = None


def session_processes(driver: int) -> Iterator[int]:
    """Ids of this user's processes, other than this one, of the Ray sessions of a driver.

    Each has files open in the session's folder, whose name ends in the driver's id.
    """
    inside = re.compile(rf"/session_[\d_-]+_{driver}/")
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _holds(entry, inside):
            yield int(entry.name)


def _holds(process: Path, inside: re.Pattern[str]) -> bool:
    try:
        return any(inside.search(str(link.readlink())) for link in (process / "fd").iterdir())
    except OSError:  # ended meanwhile, or another user's
        return False


def _watch(driver: int) -> None:
    if sys.stdin.buffer.read() == _FAREWELL:
        return
    time.sleep(_GRACE_S)
    empty = 0
    # processes that were just being started may appear after a look that found none
    while empty < _EMPTY_LOOKS:
        found = list(session_processes(driver))
        empty = 0 if found else empty + 1
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_GRACE_S)


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
