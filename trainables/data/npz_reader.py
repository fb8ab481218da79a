"""The one place that reads npz files; pickled objects go through a restricted unpickler.

The npz files of the field hold pickled dictionaries. `numpy.load(allow_pickle=True)` would run
whatever code such a file asks for; here `trainables.data.plain_pickle` reads them, which runs
none.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.plain_pickle import (
    NpzValue,
    UnsupportedError,
    array_from_bytes,
    plain_dtype,
    unpickle,
)
from trainables.errors import DataError, UnsafeDataError
from trainables.names import printable

__all__ = ["NpzValue", "read_npz"]


MAX_MEMBER_BYTES = 4 << 30
"""Of one member, and of all that are read; Human3.6M's largest is about 0.6 GB."""
MAX_COMPRESSION_RATIO = 100
"""Motion data shrink by a factor of 2 to 10; a zip bomb by up to 1032."""
RATIO_CHECKED_FROM_BYTES = 64 << 20
MAX_MEMBERS = 1000
"""The files of the field have one to ten."""
MAX_HEADER_BYTES = 10_000
"""numpy's own are a hundred; its limit is the same."""
MAX_TEXT_CHARACTERS = 999_999
"""Of one text in an array, as `_DTYPE` has it."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1  # bit of a zip member's flags
_MALFORMED = (
    *(EOFError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(RuntimeError, MemoryError, SyntaxError, OSError),
)


def read_npz(
    path: Path, keys: Collection[str] | None = None, *, allow_objects: bool = True
) -> dict[str, NpzValue]:
    """Read arrays from an npz file without running code from it.

    Args:
        path: The file.
        keys: Which arrays; all of them if None.
        allow_objects: Whether pickled objects are read; else they are refused unread.

    Returns:
        The arrays by name. Object arrays of no dimension are unwrapped. Arrays may be read-only.

    Raises:
        UnsafeDataError: The file asks for anything but arrays and plain containers, or is a
            zip bomb; the message names what it asked for.
        DataError: The file is missing, truncated or malformed, or lacks a key.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            missing = sorted(set(keys or ()) - set(members))
            if missing:
                raise DataError(
                    f"{path}: found the arrays {sorted(members)}, expected {missing} as well; "
                    "is this the right file?"
                )
            wanted = {n: info for n, info in members.items() if keys is None or n in keys}
            _check_sizes(list(wanted.values()), path)
            return {
                name: _read_member(archive, info, path, allow_objects=allow_objects)
                for name, info in wanted.items()
            }
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnsupportedError as error:
        raise DataError(
            f"{path}: {error}; expected arrays of numbers or text, save the file again with "
            "numpy.savez"
        ) from error
    except _MALFORMED as error:
        raise DataError(
            f"{path}: not a readable npz file ({type(error).__name__}: {error}); it is truncated "
            "or damaged, copy or download it again"
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays, each of which may occur once."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise UnsafeDataError(f"{path}: {len(infos)} members; refused, the limit is {MAX_MEMBERS}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise DataError(
                f"{path}: holds the array {name!r} twice, and it is not clear which is meant; "
                "copy or download it again"
            )
        members[name] = info
    return members


def _check_sizes(infos: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse what would fill the memory, by member and all members together."""
    whole = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    claims = [
        (f" [{printable(info.filename)}]", info.file_size, info.compress_size) for info in infos
    ]
    for name, size, packed in (*claims, ("", *whole)):
        ratio = size / max(packed, 1)
        if size > MAX_MEMBER_BYTES or (
            size > RATIO_CHECKED_FROM_BYTES and ratio > MAX_COMPRESSION_RATIO
        ):
            raise UnsafeDataError(
                f"{path}{name}: claims to unpack to {size} bytes ({ratio:.0f} times its size in "
                f"the file); refused, the limits are {MAX_MEMBER_BYTES} bytes, and a factor of "
                f"{MAX_COMPRESSION_RATIO} above {RATIO_CHECKED_FROM_BYTES} bytes"
            )


def _read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, *, allow_objects: bool
) -> NpzValue:
    """Decompress a member, never beyond the size that it claims, and decode it."""
    where = f"{path} [{printable(info.filename)}]"
    if info.flag_bits & _ENCRYPTED:
        raise DataError(f"{where}: encrypted, expected a plain npz file; decrypt it first")
    if info.compress_type not in _METHODS:
        # the others are unpacked without a bound by zipfile
        raise DataError(
            f"{where}: packed by method {info.compress_type}, which numpy does not write; "
            "expected stored or deflated members, save the file again with numpy"
        )
    with archive.open(info) as stream:
        if not allow_objects:
            _refuse_objects(stream.read(MAX_HEADER_BYTES + 64), where)
            stream.seek(0)
        return _decode_npy(stream.read(info.file_size), where)


def _refuse_objects(start: bytes, where: str) -> None:
    """Look at the type in the header, before any content is read."""
    if _read_header(io.BytesIO(start), where)[2].hasobject:
        raise UnsafeDataError(
            f"{where}: holds pickled objects; refused, expected plain arrays only: numbers, texts "
            "of fixed width, true or false"
        )


def _read_header(stream: io.BytesIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an npy file (format versions 1.0 and 2.0)."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise UnsupportedError(f"npy format version {version} is not supported")
    start, width = stream.tell(), 2 * version[0]
    length = int.from_bytes(stream.read(width), "little")
    if length > MAX_HEADER_BYTES:
        raise UnsafeDataError(
            f"{where}: claims a header of {length} bytes; refused, the limit is {MAX_HEADER_BYTES}"
        )
    stream.seek(start)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    return read(stream, max_header_size=MAX_HEADER_BYTES)


def _decode_npy(data: bytes, where: str) -> NpzValue:
    """Decode the bytes of one npy file."""
    stream = io.BytesIO(data)
    shape, fortran, dtype = _read_header(stream, where)
    characters = dtype.itemsize // {"U": 4, "S": 1}.get(dtype.kind, dtype.itemsize + 1)
    if characters > MAX_TEXT_CHARACTERS:
        raise DataError(
            f"{where}: texts of up to {characters} characters, expected at most "
            f"{MAX_TEXT_CHARACTERS}; shorten them"
        )
    body = memoryview(data)[stream.tell() :]
    if not dtype.hasobject:
        return array_from_bytes(body, shape, plain_dtype(dtype.str), fortran=fortran)
    if dtype != np.dtype(object):
        raise UnsafeDataError(f"{where}: structured arrays with objects ({dtype}) are refused")
    value = unpickle(bytes(body), where)
    if not isinstance(value, np.ndarray) or value.shape != tuple(shape):
        raise ValueError(f"the header says an object array of shape {shape}, the pickle differs")
    return value.item() if value.shape == () else value
