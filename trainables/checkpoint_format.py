"""What a checkpoint file holds: a checksum, meta as JSON, and a state without code."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.errors import CheckpointError

__all__ = ["Checkpoint", "decode", "encode"]

# A file is: magic, SHA-256 of all that follows (64 hexadecimal digits), newline, meta as one
# line of JSON, newline, the state as torch writes it.
_MAGIC = b"SEALPOSE-CHECKPOINT-1 "
_DIGEST_LENGTH = 64


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes:
        state: State of the trainer, tensors on the CPU.
        meta: What was stored beside it; `fingerprint` at least.
        location: Where it was read.
    """

    state: dict[str, Any]
    meta: dict[str, Any]
    location: str


def encode(state: dict[str, Any], meta: dict[str, Any]) -> bytes:
    """A checkpoint as the content of a file.

    Args:
        state: Nested dicts, lists and tuples of tensors, numbers, strings, None.
        meta: What belongs to it, as JSON.

    Raises:
        CheckpointError: If state or meta hold something else.
    """
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


def decode(content: bytes, location: str) -> Checkpoint:
    """Verify the content of a checkpoint file; no code in it is ever run.

    Args:
        content: All of the file.
        location: Where it was read, for messages.

    Raises:
        CheckpointError: If it is damaged, or no checkpoint.
    """
    header = len(_MAGIC) + _DIGEST_LENGTH
    if not content.startswith(_MAGIC) or content[header : header + 1] != b"\n":
        raise CheckpointError(f"{location} is not a checkpoint, or its beginning is damaged")
    body = memoryview(content)[header + 1 :]
    digest = hashlib.sha256(body).hexdigest().encode()
    if digest != content[len(_MAGIC) : header]:
        raise CheckpointError(f"{location} is damaged or truncated: its checksum does not match")
    end = content.index(b"\n", header + 1)
    try:
        meta = json.loads(content[header + 1 : end])
        stream = io.BytesIO(memoryview(content)[end + 1 :])
        state = torch.load(stream, map_location="cpu", weights_only=True)
    except (ValueError, RuntimeError, pickle.UnpicklingError) as err:
        raise CheckpointError(f"{location} holds what no checkpoint holds: {err}") from err
    if not isinstance(state, dict) or not isinstance(meta, dict) or "fingerprint" not in meta:
        raise CheckpointError(f"{location} holds no state with a fingerprint")
    return Checkpoint(state=state, meta=meta, location=location)


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
