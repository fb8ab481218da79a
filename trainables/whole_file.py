"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside its place and move it there, so that nobody ever sees half of it.

    It may be read by whom the umask lets. What a killed writer of the same file left behind is
    removed.

    Args:
        path: The file; one that exists is replaced when the context ends without an error.

    Yields:
        A stream to write to.

    Raises:
        OSError: The file cannot be written; nothing is left of it then.
    """
    _remove_leavings(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield stream
            stream.flush()
            os.fsync(descriptor)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leavings(path: Path) -> None:
    """Remove temporary files of the same target whose writers, which lock them, are dead."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.part")
    for other in [found for found in path.parent.iterdir() if ours.fullmatch(found.name)]:
        with contextlib.suppress(OSError):
            descriptor = os.open(other, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other.unlink()
            finally:
                os.close(descriptor)
