"""Pickled arrays and plain containers, read without running anything.

Nothing of numpy's or Python's own is reachable from a pickle: the few global names that plain
arrays need are answered by inert stand-ins of this module, every other name is refused, and
arrays are rebuilt by `numpy.frombuffer` after their sizes have been checked against the bytes
that are really there.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UnsafeDataError

__all__ = ["NpzValue", "UnsupportedError", "array_from_bytes", "plain_dtype", "unpickle"]

NpzValue = Any
"""An array, or, from a pickled object array, dicts, lists, tuples, strings, numbers, arrays."""

MAX_PICKLE_OPCODES = 20_000_000
MAX_DEPTH = 32
_DTYPE = re.compile(r"[<>|=]?([fiu][1248]|b1|[SU]\d{1,6}|O8?)")
_FORBIDDEN_OPCODES = frozenset(
    {
        *("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"),
        *("PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"),
    }
)


class UnsupportedError(Exception):
    """A file may be whole, but is of a kind that is not read."""


def plain_dtype(text: str) -> np.dtype[Any]:
    """A simple dtype by its string.

    Raises:
        UnsupportedError: It is anything else.
    """
    if _DTYPE.fullmatch(text) is None:
        raise UnsupportedError(f"arrays of type {text!r} are not supported")
    return np.dtype(text)


def _checked_shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(
        isinstance(size, int) and 0 <= size < 1 << 40 for size in shape
    ):
        raise ValueError(f"{shape!r} is no array shape")
    return shape


def array_from_bytes(
    data: bytes | memoryview, shape: object, dtype: np.dtype[Any], *, fortran: bool
) -> NDArray[Any]:
    """View bytes as an array (no copy).

    Raises:
        ValueError: The byte count does not fit exactly.
    """
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
        return plain_dtype(text if text[:1] in "<>|=" else self._order + text)


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
    return array_from_bytes(_raw(data), (), dtype.resolve(), fortran=False).item()


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


def unpickle(data: bytes, where: str) -> NpzValue:
    """Read a pickle of arrays and plain containers.

    Args:
        data: The pickle.
        where: File and array, for messages.

    Raises:
        UnsafeDataError: It asks for anything else, or tampers with what reads it.
        ValueError: It is malformed; other errors of the pickle machine are possible.
    """
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
        return array_from_bytes(_raw(data), shape, resolved_dtype, fortran=bool(fortran))
    sizes = _checked_shape(shape)
    if not isinstance(data, list) or len(data) != math.prod(sizes):
        raise ValueError(f"an object array of shape {sizes} without as many objects")
    flat = np.empty(len(data), dtype=object)
    for index, item in enumerate(data):
        flat[index] = _resolve(item, done, depth + 1)
    return flat.reshape(sizes, order="F" if fortran else "C")
