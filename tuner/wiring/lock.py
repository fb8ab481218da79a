"""One driver per run: a lock that the kernel lets go of when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.errors import ConfigurationError

__all__ = ["driver_lock"]


@contextmanager
def driver_lock(folder: Path, run: str) -> Iterator[None]:
    """Hold a run's folder for one driver; the folder is created.

    Raises:
        ConfigurationError: If another driver holds it, or the folder cannot be written.
    """
    path = folder / "driver.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"--home: {folder} cannot be written: {error.strerror}; give a folder that can"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ConfigurationError(
                f"run {run!r} is being driven by {_holder(file.read())}; wait for it, stop it, or "
                "give this run another --name"
            ) from error
        file.truncate(0)
        json.dump({"host": platform.node(), "process": os.getpid()}, file)
        file.flush()
        yield


def _holder(text: str) -> str:
    try:
        facts = json.loads(text)
        return f"process {facts['process']} on {facts['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
