"""Finding the files of a data folder: there, readable, and inside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from trainables.errors import DataError, UnsafeDataError

__all__ = ["check_file", "find_files", "require_folder"]

_SHOWN_NAMES = 20


def require_folder(folder: Path | None, *, dataset: str, cure: str) -> Path:
    """The data folder.

    Args:
        folder: What `--data-dir` said.
        dataset: Name of the data set, for messages.
        cure: How to get the files.

    Raises:
        DataError: None is given, or it is no folder that can be listed.
    """
    if folder is None:
        raise DataError(f"data set {dataset!r} needs a data folder; {cure}")
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {found}, expected the folder of data set {dataset!r}; {cure}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{folder}: the folder may not be read; change its permissions")
    return folder


def find_files(folder: Path, names: Iterable[str], *, cure: str) -> tuple[Path, ...]:
    """Files that a data set cannot do without.

    Args:
        folder: The data folder.
        names: Paths in it.
        cure: How to get the files.

    Returns:
        The paths, in the same order, each checked by `check_file`.

    Raises:
        DataError: A file is missing, cannot be read, or is no plain file.
        UnsafeDataError: A file is a link to somewhere outside the folder.
    """
    paths = tuple(folder / name for name in names)
    missing = [path.relative_to(folder).as_posix() for path in paths if not os.path.lexists(path)]
    if missing:
        present = sorted(path.name for path in folder.iterdir())[:_SHOWN_NAMES]
        raise DataError(
            f"{folder}: looked for {' and '.join(missing)}, found "
            f"{', '.join(present) or 'an empty folder'}; {cure}"
        )
    for path in paths:
        check_file(path, folder)
    return paths


def check_file(path: Path, folder: Path) -> None:
    """Refuse anything but a readable plain file of the folder.

    Args:
        path: A path in the folder that exists.
        folder: The data folder; it may itself be a link.

    Raises:
        DataError: It is a broken link, no plain file, or may not be read.
        UnsafeDataError: It is a link to somewhere outside the folder.
    """
    try:
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    except (OSError, RuntimeError) as error:  # a link to nowhere, or in a circle
        raise DataError(f"{path}: cannot be opened ({error}); mend or remove it") from error
    if not target.is_relative_to(folder.resolve()):
        raise UnsafeDataError(
            f"{path}: is a link to {target}, outside of {folder}; refused, copy the file into the "
            "folder, or name with --data-dir the folder where it is"
        )
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: no plain file ({stat.filemode(mode)}); expected a data file")
    if not os.access(target, os.R_OK):
        raise DataError(f"{path}: may not be read ({stat.filemode(mode)}); change its permissions")
