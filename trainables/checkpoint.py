"""Checkpoints by fingerprint: atomic, checksummed, with the one before as a fallback."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import pickle
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from trainables.errors import CheckpointError

__all__ = ["Checkpoint", "CheckpointKind", "CheckpointStore", "load_checkpoint"]

CheckpointKind = Literal["last", "best"]

_logger = logging.getLogger(__name__)

# A file is: magic, SHA-256 of all that follows (64 hexadecimal digits), newline, meta as one
# line of JSON, newline, the state as torch writes it.
_MAGIC = b"SEALPOSE-CHECKPOINT-1 "
_DIGEST_LENGTH = 64
_TEMPORARY_SUFFIX = ".tmp"
_ABANDONED_AFTER_S = 3600.0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes:
        state: State of the trainer, tensors on the CPU.
        meta: What was stored beside it; `fingerprint` at least.
        path: Where it was read.
    """

    state: dict[str, Any]
    meta: dict[str, Any]
    path: Path


class CheckpointStore:
    """Checkpoints of many trainings below one folder, which may be shared storage.

    Args:
        root: The folder; made on the first save.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root)

    def path(self, fingerprint: str, kind: CheckpointKind) -> Path:
        """Where a checkpoint lies, or would lie.

        Raises:
            CheckpointError: If the fingerprint is not a plain name.
        """
        if not fingerprint.isalnum():
            raise CheckpointError(f"fingerprint must be letters and digits, got {fingerprint!r}")
        return self._root / fingerprint / f"{kind}.ckpt"

    def save(
        self,
        fingerprint: str,
        kind: CheckpointKind,
        state: dict[str, Any],
        meta: dict[str, Any],
    ) -> Path:
        """Write a checkpoint; at no moment is there none, and none is ever half a file.

        Args:
            fingerprint: Fingerprint of the configuration.
            kind: `last` or `best`.
            state: Nested dicts, lists and tuples of tensors, numbers, strings, None.
            meta: What belongs to it, as JSON; `fingerprint` is added.

        Returns:
            Path of the checkpoint.

        Raises:
            CheckpointError: If state or meta hold something else, if meta names another
                fingerprint, or if the file cannot be written.
        """
        path = self.path(fingerprint, kind)
        if meta.get("fingerprint", fingerprint) != fingerprint:
            raise CheckpointError(
                f"meta is of {meta['fingerprint']!r}, to be saved as {fingerprint!r}"
            )
        content = _encode(state, {**meta, "fingerprint": fingerprint})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path.parent)
            _replace(path, content)
        except OSError as err:
            raise CheckpointError(
                f"cannot write checkpoint {path}: {err.strerror or err}; "
                "check the free space and the rights of the folder"
            ) from err
        return path

    def forget(self, fingerprint: str) -> None:
        """Remove every checkpoint of a training, so that it starts anew."""
        for kind in get_args(CheckpointKind):
            path = self.path(fingerprint, kind)
            for file in (path, _previous(path)):
                file.unlink(missing_ok=True)

    def drop_previous(self, fingerprint: str) -> None:
        """Remove the checkpoints before the last ones: a finished training needs no way back."""
        for kind in get_args(CheckpointKind):
            _previous(self.path(fingerprint, kind)).unlink(missing_ok=True)

    def load(self, fingerprint: str, kind: CheckpointKind) -> Checkpoint | None:
        """Read a checkpoint, or, if it is damaged or missing, the one before.

        Returns:
            The checkpoint; None if there is none, or none that can be read. Whatever was passed
            over is logged as a warning.

        Raises:
            CheckpointError: If it belongs to another configuration.
        """
        path = self.path(fingerprint, kind)
        for candidate in (path, _previous(path)):
            if not candidate.exists():
                continue
            try:
                checkpoint = load_checkpoint(candidate)
            except CheckpointError as err:
                _logger.warning("checkpoint passed over: %s", err)
                continue
            found = checkpoint.meta["fingerprint"]
            if found != fingerprint:
                raise CheckpointError(
                    f"{candidate} is a checkpoint of configuration {found!r}, "
                    f"expected {fingerprint!r}; remove it or use another folder"
                )
            if candidate != path:
                _logger.warning("using the checkpoint before the last one: %s", candidate)
            return checkpoint
        return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint file; no code in it is ever run.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as err:
        raise CheckpointError(f"cannot read checkpoint {path}: {err.strerror or err}") from err
    header = len(_MAGIC) + _DIGEST_LENGTH
    if not content.startswith(_MAGIC) or content[header : header + 1] != b"\n":
        raise CheckpointError(f"{path} is not a checkpoint, or its beginning is damaged")
    body = memoryview(content)[header + 1 :]
    digest = hashlib.sha256(body).hexdigest().encode()
    if digest != content[len(_MAGIC) : header]:
        raise CheckpointError(f"{path} is damaged or truncated: its checksum does not match")
    end = content.index(b"\n", header + 1)
    try:
        meta = json.loads(content[header + 1 : end])
        stream = io.BytesIO(memoryview(content)[end + 1 :])
        state = torch.load(stream, map_location="cpu", weights_only=True)
    except (ValueError, RuntimeError, pickle.UnpicklingError) as err:
        raise CheckpointError(f"{path} holds what no checkpoint holds: {err}") from err
    if not isinstance(state, dict) or not isinstance(meta, dict) or "fingerprint" not in meta:
        raise CheckpointError(f"{path} holds no state with a fingerprint")
    return Checkpoint(state=state, meta=meta, path=Path(path))


def _encode(state: dict[str, Any], meta: dict[str, Any]) -> bytes:
    _require_plain(state, "state")
    try:
        line = json.dumps(meta, sort_keys=True).encode()
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"meta cannot be written as JSON: {err}") from err
    stream = io.BytesIO()
    stream.write(line + b"\n")
    torch.save(state, stream)
    body = stream.getbuffer()
    digest = hashlib.sha256(body).hexdigest().encode()
    return b"".join([_MAGIC, digest, b"\n", body])


def _require_plain(value: object, where: str) -> None:
    """Refuse at once what a reader that runs no code would refuse later."""
    # subclasses (numpy's float64 is a float) are as unreadable as anything else
    if value is None or type(value) in (bool, int, float, str) or isinstance(value, Tensor):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(key, f"{where}: key")
            _require_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):  # type: ignore[arg-type]
            _require_plain(item, f"{where}[{index}]")
    else:
        raise CheckpointError(
            f"{where} is a {type(value).__name__}; a checkpoint holds tensors, numbers, "
            "strings, None, and lists, tuples and dicts of them"
        )


def _replace(path: Path, content: bytes) -> None:
    """Put new content at a path, and what was there at the path of the one before."""
    descriptor, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY_SUFFIX
    )
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(_previous(path))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the renames are on disk, too
    finally:
        os.close(folder)


def _previous(path: Path) -> Path:
    return path.with_suffix(f".previous{path.suffix}")


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files of writers that were killed long ago."""
    now_s = time.time()
    for file in folder.glob(f".*{_TEMPORARY_SUFFIX}"):
        try:
            if now_s - file.stat().st_mtime > _ABANDONED_AFTER_S:
                file.unlink()
        except FileNotFoundError:  # another writer's, finished or removed meanwhile
            continue
