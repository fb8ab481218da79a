"""Whether source files are still what a cached data set was made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trainables.data.source_files import check_file
from trainables.errors import DataError

__all__ = ["FileIdentity", "SourceFile", "identify", "record", "settled", "still_the_same"]

SETTLED_NS = 2_000_000_000
"""A file may change twice within a tick of the file system's clock: one that changed so shortly
before it was looked at is read again."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileIdentity(_Strict):
    """What tells, without reading it, that a file is the same as before.

    Attributes:
        size: Bytes.
        mtime_ns: When its content changed, Unix time.
        ctime_ns: When its content or its entry changed; no program can set it.
        inode: Its number in the file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class SourceFile(_Strict):
    """A source file.

    Attributes:
        path: Its path in the data folder.
        identity: Its identity; None where there was no such file.
        sha256: Of its content; None where there was no such file.
    """

    path: str
    identity: FileIdentity | None
    sha256: str | None


def identify(paths: Sequence[Path], folder: Path) -> dict[Path, FileIdentity | None]:
    """Identities of the files by path; None for those that do not exist.

    Raises:
        ValueError: One is none that a loader would read: a link out of the folder, say.
        OSError: One cannot be looked at.
    """
    found: dict[Path, FileIdentity | None] = {}
    for path in paths:
        if not os.path.lexists(path):
            found[path] = None
            continue
        try:
            check_file(path, folder)
        except DataError as error:
            raise ValueError(str(error)) from error
        status = path.stat()
        found[path] = FileIdentity(
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            inode=status.st_ino,
        )
    return found


def record(found: dict[Path, FileIdentity | None], folder: Path) -> tuple[SourceFile, ...]:
    """Read the files to the end, and describe them.

    Args:
        found: What `identify` returned.
        folder: The data folder.

    Raises:
        OSError: One cannot be read.
    """
    return tuple(
        SourceFile(
            path=path.relative_to(folder).as_posix(),
            identity=identity,
            sha256=None if identity is None else _sha256(path),
        )
        for path, identity in found.items()
    )


def still_the_same(
    recorded: Sequence[SourceFile],
    found: dict[Path, FileIdentity | None],
    folder: Path,
    recorded_ns: int,
) -> tuple[tuple[SourceFile, ...] | None, str]:
    """Compare files with what was recorded of them; they are read only where identities differ.

    Args:
        recorded: What was recorded.
        found: What `identify` returns now.
        folder: The data folder.
        recorded_ns: When it was recorded, Unix time.

    Returns:
        The files as they are now, if their content is the same, else None; and what has changed.

    Raises:
        OSError: One cannot be read.
    """
    known = {source.path: source for source in recorded}
    current = []
    for path, identity in found.items():
        name = path.relative_to(folder).as_posix()
        before = known.pop(name, None)
        if before is None or (identity is None) != (before.identity is None):
            return None, f"{name} is new, or gone"
        if identity is not None and not (
            identity == before.identity and settled([identity], recorded_ns)
        ):
            if _sha256(path) != before.sha256:
                return None, f"{name} has changed"
            before = before.model_copy(update={"identity": identity})
        current.append(before)
    if known:
        return None, f"{' and '.join(known)} are no longer read"
    return tuple(current), ""


def settled(identities: Iterable[FileIdentity | None], recorded_ns: int) -> bool:
    """Whether the files last changed so long before a time that a later change would show."""
    return all(
        identity is None or identity.ctime_ns + SETTLED_NS < recorded_ns for identity in identities
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
