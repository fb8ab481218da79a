"""What is said when a run's folder cannot be written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.errors import RunFailedError

__all__ = ["is_full", "writing"]


def is_full(error: OSError) -> bool:
    """Whether there is no room: on the disk, within a quota, or within a limit for files."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write a file or folder of a run.

    Args:
        path: What is written, for the message.

    Raises:
        RunFailedError: If that fails; the run goes on when it is mended.
    """
    try:
        yield
    except OSError as error:
        remedy = "make room there" if is_full(error) else "see to its folder"
        raise RunFailedError(
            f"{path} cannot be written: {error.strerror}; {remedy}, then repeat the command: it "
            "goes on where it stopped"
        ) from error
