"""What a cached data set's manifest says, and its bytes."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from trainables.data.cache.reader_digest import reader_digest
from trainables.data.cache.sources import SourceFile

__all__ = [
    "FORMAT_VERSION",
    "ArrayRecord",
    "CacheMissError",
    "Manifest",
    "manifest_bytes",
    "parse_manifest",
]

FORMAT_VERSION = 2
"""Raise it when manifest or data file change their form."""

_HEAD, _MIDDLE, _END = b'{"sha256": "', b'",\n"manifest": ', b"}\n"
_DIGEST_CHARACTERS = 64

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class CacheMissError(Exception):
    """A cached data set cannot be used; the message says why.

    Args:
        reason: Why.
        expected: Whether that is nothing to worry about: it was never kept, or its source files
            have changed since.
    """

    def __init__(self, reason: str, *, expected: bool = False) -> None:
        super().__init__(reason)
        self.expected = expected


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ArrayRecord(_Strict):
    """Where an array of a `PoseSplit` lies in the data file.

    Attributes:
        split: Name of the split.
        field: Its field.
        dtype: Little-endian type, as numpy spells it; never objects.
        shape: Its shape.
        offset: Its first byte.
    """

    split: str
    field: Literal["x", "y", "root", "sequence", "frame", "valid"]
    dtype: Literal["<f4", "<i4", "|b1"]
    shape: tuple[Annotated[int, Field(gt=0, lt=2**40)], ...] = Field(min_length=1, max_length=3)
    offset: int = Field(ge=0, lt=2**60)


class Manifest(_Strict):
    """Everything of a data set but its arrays, and what it was made from.

    Attributes:
        format: `FORMAT_VERSION` of the writer.
        reader: `reader_digest` of the writer.
        folder: The source files' folder.
        fields: Fields of the `DataConfig` that decide on the result.
        sources: The source files, those that were absent included.
        recorded_ns: When they were last compared, before they were looked at; Unix time.
        data_file: Name of the data file, in the manifest's folder.
        size: Its bytes.
        arrays: What is in it, in order.
        name: Name of the data set.
        skeleton: All fields of its skeleton.
        sequences: All fields of its sequences.
        notes: The loader's notes.
        content_hash: The data set's.
    """

    format: int
    reader: _Sha256
    folder: str
    fields: dict[str, JsonValue]
    sources: tuple[SourceFile, ...]
    recorded_ns: int
    data_file: str = Field(pattern=r"^[a-z0-9_]+-[0-9a-f]{24}-[0-9a-f]{16}\.poses$")
    size: int = Field(gt=0)
    arrays: tuple[ArrayRecord, ...]
    name: str
    skeleton: dict[str, JsonValue]
    sequences: tuple[dict[str, JsonValue], ...]
    notes: tuple[str, ...]
    content_hash: _Sha256


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as JSON, led by a checksum of its own."""
    body = manifest.model_dump_json().encode()
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _MIDDLE + body + _END


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest; see `manifest_bytes`.

    Raises:
        CacheMissError: If it is damaged, or written by another version.
        ValueError: If it is no manifest.
        OSError: The present loaders' sources cannot be read.
    """
    start = len(_HEAD) + _DIGEST_CHARACTERS
    digest = content[len(_HEAD) : start]
    body = content[start + len(_MIDDLE) : -len(_END)]
    whole = _HEAD + digest + _MIDDLE + body + _END
    if whole != content or hashlib.sha256(body).hexdigest().encode() != digest:
        raise CacheMissError("its manifest is damaged")
    versions = _Versions.model_validate_json(body)
    if versions.format != FORMAT_VERSION:
        raise CacheMissError(
            f"it has format {versions.format}, this version writes {FORMAT_VERSION}",
            expected=True,
        )
    if versions.reader != reader_digest():
        raise CacheMissError("it was read by other loaders than the present ones", expected=True)
    return Manifest.model_validate_json(body)


class _Versions(BaseModel):
    """The part of a manifest that every version has."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: int
    reader: int | str
