"""Optuna's journal file, made safe against a writer that dies half way."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages.journal import JournalFileBackend

from tuner.adapters.optuna_database import Guard
from tuner.errors import StoreError

__all__ = ["LockedJournalBackend"]

TAIL_CHUNK_BYTES = 4096


class LockedJournalBackend(JournalFileBackend):
    """Journal backend with the kernel's file lock instead of Optuna's lock file.

    A lock file outlives a killed process: the next one would wait out its 30 s of grace. The
    kernel's lock goes with the process. And a line torn off by a kill or a full disk is taken
    away before the next is appended; otherwise the two would merge into one that nobody can
    read. The file's format is Optuna's own, so that Optuna's tools read it.

    Args:
        path: The journal; its folder exists.

    Attributes:
        guard: Entered while records are appended, with None; it refuses by raising.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.guard: Guard = nullcontext
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, all or none of them, and wait until they are on disk.

        Raises:
            OSError: If the file is gone or cannot be written; it is left as it was.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        # without O_CREAT: a journal removed under a running search must not start anew
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file closes
            with self.guard(None):
                _append(file, lines.encode())

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]  # Optuna wrongly asks for a Generator
        """Read the records from a number on.

        Raises:
            StoreError: If the file is not a journal, or damaged other than at its end.
        """
        try:
            for log in super().read_logs(log_number_from):
                if not isinstance(log, dict) or "op_code" not in log:
                    raise ValueError("a line that is no journal record")
                yield log
        except ValueError as error:
            raise StoreError(
                f"journal file {self._path} is damaged, or is no Optuna journal ({error}); "
                "restore it from a copy, or name another file with --storage journal:PATH"
            ) from error


def _append(file: BinaryIO, content: bytes) -> None:
    end = _end_of_last_line(file)
    file.truncate(end)
    try:
        _write_all(file, content)
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _end_of_last_line(file: BinaryIO) -> int:
    """Offset behind the last newline: what follows was torn off and never acknowledged."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - TAIL_CHUNK_BYTES)
        file.seek(start)
        chunk = file.read(end - start)
        newline = chunk.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _write_all(file: BinaryIO, content: bytes) -> None:
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[file.write(remaining) :]
