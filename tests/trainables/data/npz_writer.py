"""Hand-made npz files around a pickle, for the tests of what reads them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def object_array(value: object) -> np.ndarray:
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def write_pickled(path: Path, pickled: bytes, member: str = "data.npy") -> Path:
    """An npz whose only member is an object array made of the given pickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickled
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, body)
    return path


class Calls:
    """Pickles into a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments
