"""The one place that reads npz files; pickled objects go through a restricted unpickler.

The npz files of the field hold pickled dictionaries. `numpy.load(allow_pickle=True)` would run
whatever code such a file asks for. Here nothing of numpy's or Python's own is reachable from a
pickle: the few global names that plain arrays need are answered by inert stand-ins of this
module, every other name is refused, and arrays are rebuilt by `numpy.frombuffer` after their
sizes have been checked against the bytes that are really there.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import DataError, UnsafeDataError

__all__ = ["NpzValue", "read_npz"]

NpzValue = Any
"""An array, or, from a pickled object array, dicts, lists, tuples, strings, numbers, arrays."""

MAX_MEMBER_BYTES = 4 << 30
"""Of one member, and of all that are read; Human3.6M's largest is about 0.6 GB."""
MAX_COMPRESSION_RATIO = 100
"""Motion data shrink by a factor of 2 to 10; a zip bomb by up to 1032."""
RATIO_CHECKED_FROM_BYTES = 64 << 20
MAX_MEMBERS = 1000
"""The files of the field have one to ten."""
MAX_PICKLE_OPCODES = 20_000_000
MAX_DEPTH = 32
_DTYPE = re.compile(r"[<>|=]?([fiu][1248]|b1|[SU]\d{1,6}|O8?)")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1  # bit of a zip member's flags
_FORBIDDEN_OPCODES = frozenset(
    {
        *("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"),
        *("PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"),
    }
)
_MALFORMED = (
    *(EOFError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(RuntimeError, MemoryError, SyntaxError, OSError),
)


class _UnsupportedError(Exception):
    """A file may be whole, but is of a kind that is not read."""


def read_npz(path: Path, keys: Collection[str] | None = None) -> dict[str, NpzValue]:
    """Read arrays from an npz file without running code from it.

    Args:
        path: The file.
        keys: Which arrays; all of them if None.

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
            return {name: _read_member(archive, info, path) for name, info in wanted.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _UnsupportedError as error:
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
    claims = [(f" [{info.filename}]", info.file_size, info.compress_size) for info in infos]
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


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NpzValue:
    """Decompress a member, never beyond the size that it claims, and decode it."""
    where = f"{path} [{info.filename}]"
    if info.flag_bits & _ENCRYPTED:
        raise DataError(f"{where}: encrypted, expected a plain npz file; decrypt it first")
    if info.compress_type not in _METHODS:
        # the others are unpacked without a bound by zipfile
        raise DataError(
            f"{where}: packed by method {info.compress_type}, which numpy does not write; "
            "expected stored or deflated members, save the file again with numpy"
        )
    with archive.open(info) as stream:
        return _decode_npy(stream.read(info.file_size), where)


def _decode_npy(data: bytes, where: str) -> NpzValue:
    """Decode the bytes of one npy file (format versions 1.0 and 2.0)."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise _UnsupportedError(f"npy format version {version} is not supported")
    body = memoryview(data)[stream.tell() :]
    if not dtype.hasobject:
        return _array_from_bytes(body, shape, _plain_dtype(dtype.str), fortran=fortran)
    if dtype != np.dtype(object):
        raise UnsafeDataError(f"{where}: structured arrays with objects ({dtype}) are refused")
    value = _unpickle(bytes(body), where)
    if not isinstance(value, np.ndarray) or value.shape != tuple(shape):
        raise ValueError(f"the header says an object array of shape {shape}, the pickle differs")
    return value.item() if value.shape == () else value


def _plain_dtype(text: str) -> np.dtype[Any]:
    """A simple dtype by its string; anything else is an _UnsupportedError."""
    if _DTYPE.fullmatch(text) is None:
        raise _UnsupportedError(f"arrays of type {text!r} are not supported")
    return np.dtype(text)


def _checked_shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(
        isinstance(size, int) and 0 <= size < 1 << 40 for size in shape
    ):
        raise ValueError(f"{shape!r} is no array shape")
    return shape


def _array_from_bytes(
    data: bytes | memoryview, shape: object, dtype: np.dtype[Any], *, fortran: bool
) -> NDArray[Any]:
    """View bytes as an array (no copy); the byte count must fit exactly."""
    sizes = _checked_shape(shape)
    expected = math.prod(sizes) * dtype.itemsize
    if dtype.hasobject or len(data) != expected:
        raise ValueError(f"{len(data)} bytes for shape {sizes} of {dtype}, expected {expected}")
    if expected == 0:
        return np.zeros(sizes, dtype)
    return np.frombuffer(data, dtype).reshape(sizes, order="F" if fortran else "C")


class _PendingDtype:
    """What `numpy.dtype` builds in a pickle; keeps the byte order and nothing else."""

    def __init__(self, text: object, *_flags: object) -> None:
        self._text = str(text)
        self._order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = str(state[1])

    def resolve(self) -> np.dtype[Any]:
        text = self._text
        return _plain_dtype(text if text[:1] in "<>|=" else self._order + text)


class _PendingArray:
    """What numpy's `_reconstruct` builds in a pickle, until all of it has been read."""

    def __init__(self, *_ignored: object) -> None:
        self.state: tuple[Any, ...] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _TamperingError(Exception):
    """A pickle tries to change what builds its arrays."""


class _Inert:
    """A callable that a pickle can call and nothing else: it has no state to overwrite."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise _TamperingError


def _latin1_bytes(text: object, encoding: object = "latin1") -> bytes:
    """`_codecs.encode`, as pickles of protocol 2 use it for bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes encoded as {encoding!r} are not supported")
    return text.encode("latin1")


def _scalar(dtype: object, data: object = b"") -> Any:
    if not isinstance(dtype, _PendingDtype):
        raise ValueError("a numpy scalar without a type")
    return _array_from_bytes(_raw(data), (), dtype.resolve(), fortran=False).item()


def _raw(data: object) -> bytes:
    """Array bytes; Python 2 wrote them as str."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes):
        raise ValueError(f"array data of type {type(data).__name__}")
    return data


_ALLOWED: dict[tuple[str, str], _Inert] = {
    ("numpy", "ndarray"): _Inert(lambda *_: None),
    ("numpy", "dtype"): _Inert(_PendingDtype),
    ("_codecs", "encode"): _Inert(_latin1_bytes),
    # how protocols 0 to 2 write empty bytes, such as the data of an empty array
    ("__builtin__", "bytes"): _Inert(lambda: b""),
    ("builtins", "bytes"): _Inert(lambda: b""),
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED[_module, "_reconstruct"] = _Inert(_PendingArray)
    _ALLOWED[_module, "scalar"] = _Inert(_scalar)


def _allowed_global(module: str, name: str, where: str) -> _Inert:
    """The stand-in for a global name.

    Raises:
        UnsafeDataError: The name is not one of the few that plain arrays need.
    """
    try:
        return _ALLOWED[module, name]
    except KeyError:
        raise UnsafeDataError(
            f"{where}: the pickle asks for {module}.{name}, which could run code; refused, only "
            "numpy arrays, dicts, lists, strings and numbers are read. Do not open this file "
            "with other tools; get the data from its publisher"
        ) from None


class _RestrictedUnpickler(pickle.Unpickler):
    """Resolves the names in `_ALLOWED`, refuses all others by name."""

    def __init__(self, data: bytes, where: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        return _allowed_global(module, name, self._where)


def _audit_opcodes(data: bytes, where: str) -> None:
    """Refuse a pickle by its opcodes alone, before anything of it is executed."""
    for count, (opcode, argument, _position) in enumerate(pickletools.genops(data)):
        if count > MAX_PICKLE_OPCODES:
            raise ValueError(f"more than {MAX_PICKLE_OPCODES} pickle operations")
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            _allowed_global(module, name, where)
        elif opcode.name in _FORBIDDEN_OPCODES:
            name = f" {argument}".replace(" ", ".").replace(".", " ", 1) if argument else ""
            raise UnsafeDataError(
                f"{where}: the pickle uses {opcode.name}{name}, which plain data never need; "
                "refused, get the data from its publisher"
            )
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise ValueError(f"memo index {argument} is absurd")  # would allocate that much


def _unpickle(data: bytes, where: str) -> NpzValue:
    _audit_opcodes(data, where)
    try:
        loaded = _RestrictedUnpickler(data, where).load()
    except _TamperingError as error:
        raise UnsafeDataError(
            f"{where}: the pickle tries to change what builds its arrays; refused, get the data "
            "from its publisher"
        ) from error
    return _resolve(loaded, {}, 0)


def _resolve(value: Any, done: dict[int, Any], depth: int) -> Any:
    """Replace the stand-ins by arrays, all through the containers.

    `done` remembers what was resolved, so that shared parts neither multiply nor loop.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, (str, bytes, bool, int, float, complex)):
        return value
    if id(value) in done:
        return done[id(value)]
    result: Any
    if isinstance(value, dict):
        result = {
            _resolve(key, done, depth + 1): _resolve(item, done, depth + 1)
            for key, item in value.items()
        }
    elif isinstance(value, (list, tuple)):
        result = type(value)(_resolve(item, done, depth + 1) for item in value)
    elif isinstance(value, _PendingArray):
        result = _finish_array(value, done, depth)
    else:
        raise ValueError(f"a pickled {type(value).__name__} is not supported")
    done[id(value)] = result
    return result


def _finish_array(pending: _PendingArray, done: dict[int, Any], depth: int) -> NDArray[Any]:
    """Build the array that a `_PendingArray` describes; its state is numpy's 5-tuple."""
    if pending.state is None or len(pending.state) != 5:
        raise ValueError("an array without its data")
    _version, shape, dtype, fortran, data = pending.state
    if not isinstance(dtype, _PendingDtype):
        raise ValueError("an array without a type")
    resolved_dtype = dtype.resolve()
    if not resolved_dtype.hasobject:
        return _array_from_bytes(_raw(data), shape, resolved_dtype, fortran=bool(fortran))
    sizes = _checked_shape(shape)
    if not isinstance(data, list) or len(data) != math.prod(sizes):
        raise ValueError(f"an object array of shape {sizes} without as many objects")
    flat = np.empty(len(data), dtype=object)
    for index, item in enumerate(data):
        flat[index] = _resolve(item, done, depth + 1)
    return flat.reshape(sizes, order="F" if fortran else "C")
