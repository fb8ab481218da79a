"""Checkpoints by fingerprint: atomic, checksummed, with the one before as a fallback."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from trainables.checkpoint_format import Checkpoint, decode, encode
from trainables.errors import CheckpointError, StorageUnreachableError
from trainables.storage import is_remote, open_storage, read_file, write_fault

__all__ = ["Checkpoint", "CheckpointKind", "CheckpointStore", "Found", "load_checkpoint"]

CheckpointKind = Literal["last", "best"]

_logger = logging.getLogger(__name__)

# what a file system answers of a file that is no file, or damaged: waiting would not help
_UNREADABLE = (errno.EISDIR, errno.ENOTDIR, errno.EBADMSG, errno.EUCLEAN)


@dataclass(frozen=True)
class Found:
    """What was found of a training.

    Attributes:
        checkpoint: The newest that can be read; None if there is none.
        notes: What was passed over and why, for the user.
    """

    checkpoint: Checkpoint | None
    notes: tuple[str, ...] = ()


class CheckpointStore:
    """Checkpoints of many trainings below one root, which may be shared storage.

    Args:
        root: A folder, made on the first save, or `s3://bucket/prefix`.

    Raises:
        CheckpointError: If the root is of a kind that is not known.
    """

    def __init__(self, root: Path | str) -> None:
        self._storage = open_storage(root)
        self._root = root
        self._damaged: set[str] = set()

    def location(self, fingerprint: str, kind: CheckpointKind) -> str:
        """Where a checkpoint lies, or would lie: a path or a URI, without credentials.

        Raises:
            CheckpointError: If the fingerprint is not a plain name.
        """
        return self._storage.location(_name(fingerprint, kind))

    def path(self, fingerprint: str, kind: CheckpointKind) -> Path:
        """The file of a checkpoint in a folder.

        Raises:
            CheckpointError: If the root is no folder, or the fingerprint is not a plain name.
        """
        location = self.location(fingerprint, kind)
        if is_remote(location):
            raise CheckpointError(f"{location} is no file of this machine")
        return Path(location)

    def save(
        self,
        fingerprint: str,
        kind: CheckpointKind,
        state: dict[str, Any],
        meta: dict[str, Any],
    ) -> str:
        """Write a checkpoint; at no moment is there none, and none is ever half a file.

        Args:
            fingerprint: Fingerprint of the configuration.
            kind: `last` or `best`.
            state: Nested dicts, lists and tuples of tensors, numbers, strings, None.
            meta: What belongs to it, as JSON; `fingerprint` is added.

        Returns:
            Location of the checkpoint.

        Raises:
            CheckpointError: If state or meta hold something else, if meta names another
                fingerprint, or if the file cannot be written.
            StorageFullError: If there is no space for it.
        """
        name, location = _name(fingerprint, kind), self.location(fingerprint, kind)
        if meta.get("fingerprint", fingerprint) != fingerprint:
            raise CheckpointError(
                f"meta is of {meta['fingerprint']!r}, to be saved as {fingerprint!r}"
            )
        content = encode(state, {**meta, "fingerprint": fingerprint})
        # one that is damaged must not take the place of the good one before it
        keep_as = None if name in self._damaged else _previous(name)
        try:
            self._storage.write(name, content, keep_as=keep_as)
        except OSError as error:
            raise write_fault(f"checkpoint {location}", error) from error
        self._damaged.discard(name)
        return location

    def exists(self, fingerprint: str, kind: CheckpointKind) -> bool:
        """Whether there is a checkpoint, readable or not."""
        return self.version(fingerprint, kind) is not None

    def version(self, fingerprint: str, kind: CheckpointKind) -> Hashable | None:
        """Something that changes whenever the checkpoint is written; None if there is none.

        Raises:
            CheckpointError: If the storage cannot be reached.
        """
        try:
            return self._storage.version(_name(fingerprint, kind))
        except OSError as error:
            raise _read_fault(self.location(fingerprint, kind), error) from error

    def forget(self, fingerprint: str) -> None:
        """Remove every checkpoint of a training, so that it starts anew.

        Raises:
            CheckpointError: If that fails.
        """
        names = [_name(fingerprint, kind) for kind in get_args(CheckpointKind)]
        self._delete(*names, *map(_previous, names))

    def drop_previous(self, fingerprint: str) -> None:
        """Remove the checkpoints before the last ones: a finished training needs no way back.

        Raises:
            CheckpointError: If that fails.
        """
        self._delete(*(_previous(_name(fingerprint, k)) for k in get_args(CheckpointKind)))

    def drop_state(self, fingerprint: str) -> None:
        """Remove what a training would go on from; its best nets stay.

        Raises:
            CheckpointError: If that fails.
        """
        last = _name(fingerprint, "last")
        self._delete(last, _previous(last), _previous(_name(fingerprint, "best")))

    def find(self, fingerprint: str, kind: CheckpointKind) -> Found:
        """Read a checkpoint, or, if it is damaged or missing, the one before.

        Raises:
            CheckpointError: If it belongs to another configuration.
            StorageUnreachableError: If it cannot be known whether there is one (the storage is
                out of reach, or forbids it).
        """
        name = _name(fingerprint, kind)
        notes: list[str] = []
        unclear: _DamagedError | None = None
        for candidate in (name, _previous(name)):
            try:
                checkpoint = self._read(candidate, fingerprint)
            except FileNotFoundError:
                continue
            except _DamagedError as error:
                notes.append(str(error))
                unclear = unclear or (None if error.certain else error)
            else:
                if candidate != name:
                    notes = notes or [f"checkpoint {self._storage.location(name)} is missing"]
                    notes.append(f"the checkpoint before it is used: {checkpoint.location}")
                return Found(checkpoint, tuple(notes))
            self._damaged.add(candidate)
        if unclear is not None:
            raise StorageUnreachableError(str(unclear)) from unclear
        if notes:
            notes.append("there is no other checkpoint of it: the training starts anew")
        return Found(None, tuple(notes))

    def settle(
        self, fingerprint: str, kind: CheckpointKind, is_wanted: Callable[[dict[str, Any]], bool]
    ) -> bool:
        """See that a checkpoint is the wanted one; else the one before takes its place, if it is.

        Args:
            fingerprint: Fingerprint of the configuration.
            kind: `last` or `best`.
            is_wanted: Judges by what was stored beside the state.

        Returns:
            Whether the wanted one is in its place now.

        Raises:
            CheckpointError: If it belongs to another configuration, or cannot be put back.
            StorageUnreachableError: If it cannot be known what is there.
        """
        name = _name(fingerprint, kind)
        for candidate in (name, _previous(name)):
            try:
                if not is_wanted(self._read(candidate, fingerprint).meta):
                    continue
                if candidate != name:
                    self._storage.write(name, self._storage.read(candidate))
                    self._damaged.discard(name)
            except FileNotFoundError:
                continue
            except _DamagedError as error:
                if not error.certain:
                    raise StorageUnreachableError(str(error)) from error
                self._damaged.add(candidate)
            except OSError as error:
                raise write_fault(f"checkpoint {self._storage.location(name)}", error) from error
            else:
                return True
        return False

    def load(self, fingerprint: str, kind: CheckpointKind) -> Checkpoint | None:
        """Do as `find`, and log as a warning what was passed over."""
        found = self.find(fingerprint, kind)
        for note in found.notes:
            _logger.warning("%s", note)
        return found.checkpoint

    def _read(self, name: str, fingerprint: str) -> Checkpoint:
        location = self._storage.location(name)
        try:
            content = self._storage.read(name)
        except FileNotFoundError:
            raise
        except OSError as error:
            fault = _read_fault(location, error)
            # a disk's bad sector, or a network file system that gave up: both say so
            if error.errno == errno.EIO:
                raise _DamagedError(str(fault), certain=False) from error
            if isinstance(fault, StorageUnreachableError):
                raise fault from error
            raise _DamagedError(str(fault)) from error
        return _load(content, location, fingerprint)

    def _delete(self, *names: str) -> None:
        for name in names:
            try:
                self._storage.delete(name)
            except OSError as error:
                location = self._storage.location(name)
                raise CheckpointError(
                    f"cannot remove {location}: {error.strerror or error}"
                ) from error


def load_checkpoint(location: Path | str) -> Checkpoint:
    """Read and verify a checkpoint by its location; no code in it is ever run.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint.
        StorageUnreachableError: If none of that can be known now.
    """
    try:
        content = read_file(location)
    except OSError as error:
        raise _read_fault(str(location), error) from error
    return decode(content, str(location))


class _DamagedError(Exception):
    """A file is there, and is not what was written.

    Args:
        message: What was found.
        certain: Whether the file is to blame; else it may be the way to it.
    """

    def __init__(self, message: str, *, certain: bool = True) -> None:
        super().__init__(message)
        self.certain = certain


def _load(content: bytes, location: str, fingerprint: str) -> Checkpoint:
    try:
        checkpoint = decode(content, location)
    except CheckpointError as error:
        raise _DamagedError(str(error)) from error
    found = checkpoint.meta["fingerprint"]
    if found != fingerprint:
        raise CheckpointError(
            f"{location} is a checkpoint of configuration {found!r}, expected {fingerprint!r}; "
            "remove it or use another folder"
        )
    return checkpoint


def _read_fault(location: str, error: OSError) -> CheckpointError:
    text = f"cannot read checkpoint {location}: {error.strerror or error}"
    if isinstance(error, FileNotFoundError) or error.errno in _UNREADABLE:
        return CheckpointError(text)
    return StorageUnreachableError(text)


def _name(fingerprint: str, kind: CheckpointKind) -> str:
    if not fingerprint.isalnum():
        raise CheckpointError(f"fingerprint must be letters and digits, got {fingerprint!r}")
    return f"{fingerprint}/{kind}.ckpt"


def _previous(name: str) -> str:
    return f"{name.removesuffix('.ckpt')}.previous.ckpt"
