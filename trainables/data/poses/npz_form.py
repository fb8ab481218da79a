"""Poses as an npz file: one plain array per column, the metadata as a text."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.npz_reader import read_npz
from trainables.data.poses.metadata import read_metadata
from trainables.data.poses.table import COLUMNS, Labels, PoseTable, check_table
from trainables.errors import DataError
from trainables.names import first_few

__all__ = ["read_npz_table", "write_npz_table"]

METADATA = "metadata"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same in every file, so that equal poses give equal bytes."""


def read_npz_table(path: Path) -> PoseTable:
    """Read `poses.npz`; nothing in it is ever run.

    Raises:
        DataError: The file is damaged, or what it holds is malformed.
        UnsafeDataError: It holds pickled objects, or unpacks to absurd sizes.
    """
    arrays = read_npz(path, allow_objects=False)
    if METADATA not in arrays:
        raise DataError(
            f"{path}: found the arrays {first_few(sorted(arrays)) or '(none)'}, expected "
            f"{METADATA} as well: a text (JSON) with unit, skeleton and cameras"
        )
    metadata = read_metadata(_metadata_text(arrays.pop(METADATA), path), f"{path} [{METADATA}]")
    columns: dict[str, Any] = {}
    for name, values in arrays.items():
        is_text = name in COLUMNS and COLUMNS[name].kind == "text"
        columns[name] = _labels(values, name, path) if is_text else values
    return check_table(metadata, columns, str(path))


def _metadata_text(value: Any, path: Path) -> str:
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind == "U":
        return str(value)
    found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value)
    raise DataError(
        f"{path} [{METADATA}]: found {found}, expected one text: np.asarray(json.dumps(...))"
    )


def _labels(values: NDArray[Any], name: str, path: Path) -> Labels:
    """Number the values of a text array; bytes are UTF-8."""
    if values.dtype.kind == "U":
        return Labels.of(values)
    if values.dtype.kind != "S":
        raise DataError(f"{path} [{name}]: {values.dtype}, expected texts (np.str_)")
    names, codes = np.unique(values, return_inverse=True)
    try:
        texts = tuple(bytes(found).decode("utf-8") for found in names)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} [{name}]: texts as bytes must be UTF-8 ({error})") from error
    return Labels(texts, codes.reshape(-1).astype(np.int32))


def write_npz_table(table: PoseTable, stream: IO[bytes]) -> None:
    """Write a table; equal tables give equal bytes."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        _write_member(archive, METADATA, np.asarray(table.metadata.to_json()))
        for name in COLUMNS:
            if name in table.columns:
                _write_member(archive, name, _plain(table.columns[name]))


def _plain(column: Any) -> NDArray[Any]:
    """Text as UTF-8 bytes, which take a quarter of the room."""
    if not isinstance(column, Labels):
        return np.ascontiguousarray(column)
    return np.asarray([name.encode() for name in column.names], dtype=np.bytes_)[column.codes]


def _write_member(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    info = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_EPOCH)
    info.external_attr = 0o644 << 16
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, values, allow_pickle=False)
