"""Result files that a user names: written as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.whole_file import whole_file
from tuner.errors import ConfigurationError

__all__ = ["check_writable", "write_whole"]


def check_writable(path: Path, *, option: str) -> None:
    """Refuse, before any work is done, a file that could not be written.

    Raises:
        ConfigurationError: If it is a folder, or its folder is missing or not writable.
    """
    folder = path.parent
    if path.is_dir():
        raise ConfigurationError(f"{option} {path}: is a folder; name a file in it")
    if not folder.is_dir():
        raise ConfigurationError(f"{option} {path}: there is no folder {folder}; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{option} {path}: {folder} is not writable")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that nobody ever sees half of it.

    Raises:
        ConfigurationError: If it cannot be written.
    """
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror or error}; choose another place"
        ) from error
