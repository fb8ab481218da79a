"""Poses files in a folder: which one, how it is read, and how one is written as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from trainables.config import DataConfig
from trainables.data.poses.npz_form import read_npz_table, write_npz_table
from trainables.data.poses.table import PoseTable
from trainables.data.source_files import check_file, find_files, require_folder
from trainables.errors import DataError
from trainables.whole_file import whole_file

__all__ = ["FILE_NAMES", "find_poses_file", "poses_files", "read_table", "write_table"]

FILE_NAMES = ("poses.npz", "poses.parquet")
CURE = "write one with `tuner data convert`, or as docs/own_data.md describes it"


def poses_files(config: DataConfig, folder: Path) -> tuple[Path, ...]:
    """All files that the loader may read."""
    del config
    return tuple(folder / name for name in FILE_NAMES)


def find_poses_file(data_dir: Path | None) -> Path:
    """The folder's poses file.

    Raises:
        DataError: There is none, there are two, or it cannot be read.
        UnsafeDataError: It is a link to somewhere outside the folder.
    """
    folder = require_folder(data_dir, dataset="poses", cure=f"put {FILE_NAMES[0]} in one; {CURE}")
    found = [folder / name for name in FILE_NAMES if os.path.lexists(folder / name)]
    if len(found) > 1:
        raise DataError(
            f"{folder}: has both {' and '.join(FILE_NAMES)}, expected one; remove the other"
        )
    if not found:
        find_files(folder, FILE_NAMES[:1], cure=f"or {FILE_NAMES[1]}; {CURE}")
    check_file(found[0], folder)
    return found[0]


def read_table(path: Path) -> PoseTable:
    """Read a poses file of either kind, and check it.

    Raises:
        DataError: The suffix is unknown, or the file is damaged or malformed.
        UnsafeDataError: The file asks for code to be run, or unpacks to absurd sizes.
    """
    return _READERS[_suffix(path)](path)


def write_table(table: PoseTable, path: Path) -> None:
    """Write a poses file beside its place and move it there: nobody ever sees half of it.

    Raises:
        DataError: The suffix is unknown, or the file cannot be written.
    """
    writer = _WRITERS[_suffix(path)]
    try:
        with whole_file(path) as stream:
            writer(table, stream)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(
            f"{path}: suffix {path.suffix or '(none)'!r} is unknown, expected "
            f"{' or '.join(_READERS)}"
        )
    return suffix


def _read_parquet(path: Path) -> PoseTable:
    from trainables.data.poses.parquet_form import read_parquet_table  # pyarrow is slow to import

    return read_parquet_table(path)


def _write_parquet(table: PoseTable, stream: IO[bytes]) -> None:
    from trainables.data.poses.parquet_form import write_parquet_table

    write_parquet_table(table, stream)


_READERS: Mapping[str, Callable[[Path], PoseTable]] = {
    ".npz": read_npz_table,
    ".parquet": _read_parquet,
}
_WRITERS: Mapping[str, Callable[[PoseTable, IO[bytes]], None]] = {
    ".npz": write_npz_table,
    ".parquet": _write_parquet,
}
