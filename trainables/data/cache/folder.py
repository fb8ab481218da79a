"""The cache's folder: only the user's own plain files are read, and files appear whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.data.cache.manifest import CacheMissError

__all__ = ["LIMIT_BYTES", "CacheFolder"]

LIMIT_BYTES = 20 * 2**30
"""All kept data sets together; the least recently used go first."""

LOCK_PATIENCE_S = 60.0
_LOCK_POLL_S = 0.02
_MANIFEST_LIMIT_BYTES = 2**28
_PART = ".part"
_ENTRY = re.compile(r"(?P<key>[a-z0-9_]+-[0-9a-f]{24})(?:\.json|-[0-9a-f]{16}\.poses)")


@dataclass(frozen=True)
class CacheFolder:
    """A folder of manifests `KEY.json` and data files `KEY-CONTENT.poses`.

    Attributes:
        path: The folder; it is made, for the user alone, where there is none.
        limit_bytes: Upper bound of what it holds, but for the entry that was used last.
    """

    path: Path
    limit_bytes: int = LIMIT_BYTES

    def prepare(self) -> None:
        """Make the folder if there is none.

        Raises:
            CacheMissError: If others could put files there.
            OSError: If it cannot be made.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fault = _not_private(self.path.stat())
        if fault:
            raise CacheMissError(f"the folder {fault}; name another one, or: chmod go-w")

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[int]:
        """A descriptor of one of the folder's files, for reading.

        Raises:
            CacheMissError: If it is missing, no plain file, or others could have written it.
            OSError: If it cannot be opened.
        """
        # a link is not followed, a pipe is not waited for
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path / name, flags)
        except FileNotFoundError as error:
            raise CacheMissError(f"there is no {name} yet", expected=True) from error
        try:
            status = os.fstat(descriptor)
            fault = _not_private(status)
            if fault or not stat.S_ISREG(status.st_mode):
                raise CacheMissError(f"{name} {fault or 'is no plain file'}")
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes:
        """All of a small file.

        Raises:
            CacheMissError: As `open`, or if it is not small.
            OSError: If it cannot be read.
        """
        with self.open(name) as descriptor:
            size = os.fstat(descriptor).st_size
            if size > _MANIFEST_LIMIT_BYTES:
                raise CacheMissError(f"{name} has {size} bytes")
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                return stream.read()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer; a writer that is killed lets go.

        Raises:
            CacheMissError: If another one has been writing for a long time.
            OSError: If the folder has no room for a lock, or its file system knows none.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path / "lock", flags, 0o600)
        try:
            deadline = time.monotonic() + LOCK_PATIENCE_S
            while not _locked(descriptor):
                if time.monotonic() > deadline:
                    raise CacheMissError("another process is writing to it")
                time.sleep(_LOCK_POLL_S)
            for path in self.path.glob(f"*{_PART}"):  # of writers that were killed
                path.unlink(missing_ok=True)
            yield
        finally:
            os.close(descriptor)

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Put a file in place, whole and on the disk, or leave things as they are.

        Raises:
            OSError: If there is no room, say.
        """
        temporary = self.path / f"{name}.{secrets.token_hex(4)}{_PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb", buffering=0) as stream:
                for chunk in chunks:
                    _write_all(stream.fileno(), chunk)
                os.fsync(stream.fileno())
            temporary.replace(self.path / name)
        finally:
            temporary.unlink(missing_ok=True)
        self._sync()

    def tidy(self, key: str, *, kept: Iterable[str]) -> None:
        """Remove the key's older files, what belongs to no entry, and what exceeds the limit.

        To be called by the only writer.

        Args:
            key: The entry that was just written.
            kept: Names of its files.
        """
        names = set(kept)
        entries: dict[str, list[Path]] = {}
        for path in self.path.iterdir():
            found = _ENTRY.fullmatch(path.name)
            if found and path.name not in names:
                entries.setdefault(found["key"], []).append(path)
        for path in entries.pop(key, []):
            path.unlink(missing_ok=True)
        room = self.limit_bytes - sum((self.path / name).lstat().st_size for name in names)
        for paths in sorted(entries.values(), key=_last_use_ns, reverse=True):
            room -= sum(path.lstat().st_size for path in paths)
            if room < 0 or not any(path.suffix == ".json" for path in paths):
                for path in paths:
                    path.unlink(missing_ok=True)

    def touch(self, name: str) -> None:
        """Note that an entry was used; in a folder that is read-only, nothing is noted."""
        with contextlib.suppress(OSError):
            os.utime(self.path / name, follow_symlinks=False)

    def _sync(self) -> None:
        """Have the folder's new names on the disk, too."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _not_private(status: os.stat_result) -> str:
    """Why others could have written there; empty if they could not."""
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"may be written by others ({stat.filemode(status.st_mode)})"
    return ""


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_all(descriptor: int, chunk: bytes | memoryview) -> None:
    """A single call writes at most 2 GiB, and less where room runs out."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _last_use_ns(paths: list[Path]) -> int:
    """When an entry was used last: the time of its manifest."""
    return max((path.lstat().st_mtime_ns for path in paths if path.suffix == ".json"), default=0)
