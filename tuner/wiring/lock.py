"""One driver per run: a lock that the kernel lets go of when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tuner.errors import ConfigurationError
from tuner.wiring.writing import is_full, writing

__all__ = ["driver_lock"]


@contextmanager
def driver_lock(folder: Path, run: str) -> Iterator[None]:
    """Hold a run's folder for one driver; the folder is created.

    Raises:
        ConfigurationError: If another driver holds it, or the folder cannot be written or locked.
        RunFailedError: If there is no room in it.
    """
    path = folder / "driver.lock"
    with _opened(path) as file:
        _lock(file, folder, run)
        with writing(path):
            file.truncate(0)
            facts = {"host": platform.node(), "process": os.getpid()}
            file.write(json.dumps(facts).encode())
        yield


def _opened(path: Path) -> BinaryIO:
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # without a buffer: what found no room would be written again as the file closes
        return path.open("a+b", buffering=0)
    except OSError as error:
        if is_full(error):
            with writing(path):
                raise
        raise ConfigurationError(
            f"--home: {folder} cannot be written: {error.strerror}; give a folder that can"
        ) from error


def _lock(file: BinaryIO, folder: Path, run: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise ConfigurationError(
            f"run {run!r} is being driven by {_holder(file.read())}; wait for it, stop it, or "
            "give this run another --name"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"--home: {folder} cannot be locked: {error.strerror}; give a folder on a file system "
            "with locks"
        ) from error


def _holder(text: bytes) -> str:
    try:
        facts = json.loads(text)
        return f"process {facts['process']} on {facts['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
