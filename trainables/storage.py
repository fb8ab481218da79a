"""Whole files below a root: a folder of this machine, a shared one, or `s3://bucket/prefix`."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Protocol

from trainables.errors import CheckpointError, StorageFullError

__all__ = [
    "FolderStorage",
    "Storage",
    "check_shared",
    "check_writable",
    "file_exists",
    "is_remote",
    "open_storage",
    "read_file",
    "write_fault",
]

_TEMPORARY_SUFFIX = ".tmp"
_ABANDONED_AFTER_S = 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
# what file systems over a network answer that cannot flush a folder, or need not
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


class Storage(Protocol):
    """Files by name (parts joined by `/`) below a root; each is there as a whole or not at all.

    Methods raise `OSError`: `FileNotFoundError` for what is not there, `PermissionError` and
    `ConnectionError` for what cannot be known now, anything else for what cannot be read.
    """

    def location(self, name: str) -> str:
        """The name by which any process finds the file; it holds no credentials."""
        ...

    def read(self, name: str) -> bytes:
        """Read a file."""
        ...

    def write(self, name: str, content: bytes, *, keep_as: str | None = None) -> None:
        """Replace a file, and wait until the new one is safe.

        Args:
            name: The file.
            content: All of it.
            keep_as: The name that the file before gets, if there is one.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""
        ...

    def version(self, name: str) -> Hashable | None:
        """Something that changes whenever the file is written; None if there is no file."""
        ...


def is_remote(location: Path | str) -> bool:
    """Whether a location is an object store's rather than a path."""
    return isinstance(location, str) and "://" in location


def open_storage(root: Path | str) -> Storage:
    """The storage below a root.

    Raises:
        CheckpointError: If the root is of a kind that is not known.
    """
    if not is_remote(root):
        return FolderStorage(Path(root))
    from trainables.storage_s3 import S3Storage  # pyarrow takes a while, and only this needs it

    return S3Storage(str(root))


def read_file(location: Path | str) -> bytes:
    """Read a file by its location.

    Raises:
        OSError: As `Storage` describes.
        CheckpointError: If the location is of a kind that is not known.
    """
    if not is_remote(location):
        return Path(location).read_bytes()
    root, _, name = str(location).rpartition("/")
    return open_storage(root).read(name)


def file_exists(location: Path | str) -> bool:
    """Whether there is a file at a location; False where that cannot be known."""
    if not is_remote(location):
        return Path(location).exists()
    root, _, name = str(location).rpartition("/")
    try:
        return open_storage(root).version(name) is not None
    except (OSError, CheckpointError):
        return False


def check_writable(root: Path | str) -> None:
    """Write a small file, read it back, remove it, and see that it is told to be gone.

    Raises:
        CheckpointError: If any of that fails; the message says what.
    """
    storage = open_storage(root)
    name, content = f".check-{secrets.token_hex(8)}", secrets.token_bytes(32)
    try:
        storage.write(name, content)
        found = storage.read(name)
        storage.delete(name)
    except OSError as error:
        raise write_fault(storage.location(name), error) from error
    if found != content:
        raise CheckpointError(f"{storage.location(name)} reads back as something else")
    _check_absence(storage, name)


def check_shared(root: str, name: str, content: bytes) -> str | None:
    """See, on another machine than the one that wrote a file, that the root is the same there.

    Args:
        root: The root, as the other machine names it.
        name: The file.
        content: What was written.

    Returns:
        What is wrong; None if the file is seen, and others can be written.
    """
    try:
        storage = open_storage(root)
        if storage.read(name) == content:
            check_writable(root)
            return None
    except FileNotFoundError:
        pass
    except CheckpointError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {root}: {error.strerror or error}"
    return f"{root} there is not what it is here: a file written here is not seen there"


def _check_absence(storage: Storage, name: str) -> None:
    """See that a file that is not there is told from one that must not be read."""
    location = storage.location(name)
    try:
        storage.read(name)
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise CheckpointError(
            f"cannot find out that {location} is not there: {error}; S3 tells so only to those "
            "who may list the bucket: grant s3:ListBucket on it, beside s3:GetObject, "
            "s3:PutObject and s3:DeleteObject on its objects"
        ) from error
    except OSError as error:
        raise write_fault(location, error) from error
    raise CheckpointError(f"{location} is there after it was removed")


def write_fault(location: str, error: OSError) -> CheckpointError:
    """What to tell the user of a file that cannot be written."""
    text = f"cannot write {location}: {error.strerror or error}"
    if error.errno in _FULL:
        return StorageFullError(f"{text}; check the free space of that file system and free some")
    if is_remote(location):
        return CheckpointError(
            f"{text}; check that the bucket exists, the endpoint (AWS_ENDPOINT_URL, AWS_REGION) "
            "and the credentials (AWS_ACCESS_KEY_ID, …)"
        )
    return CheckpointError(f"{text}; check the free space and the rights of the folder")


class FolderStorage:
    """Files in a folder, which may be shared by several machines.

    Args:
        root: The folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self, name: str) -> str:
        """See `Storage`: the path."""
        return str(self._root / name)

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return (self._root / name).read_bytes()

    def write(self, name: str, content: bytes, *, keep_as: str | None = None) -> None:
        """See `Storage`: a temporary file, flushed, then renamed."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY_SUFFIX
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if keep_as is not None:
                with contextlib.suppress(FileNotFoundError):
                    path.replace(self._root / keep_as)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync_folder(path.parent)

    def delete(self, name: str) -> None:
        """See `Storage`; a folder that is empty then goes, too."""
        path = self._root / name
        path.unlink(missing_ok=True)
        if path.parent != self._root:
            with contextlib.suppress(OSError):  # not empty, or not there
                path.parent.rmdir()

    def version(self, name: str) -> Hashable | None:
        """See `Storage`."""
        try:
            found = (self._root / name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino


def _sync_folder(folder: Path) -> None:
    """See that renames are on disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files of writers that were killed long ago."""
    now_s = time.time()
    for file in folder.glob(f".*{_TEMPORARY_SUFFIX}"):
        try:
            if now_s - file.stat().st_mtime > _ABANDONED_AFTER_S:
                file.unlink()
        except FileNotFoundError:  # another writer's, finished or removed meanwhile
            continue
