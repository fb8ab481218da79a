"""The one place that reads HDF5 files (MATLAB v7.3); only plain numeric arrays come out.

HDF5 can point outside of the file (external links, external storage, virtual data sets), load
filter code from elsewhere, and declare far more than it holds. All that is looked at in the
file's own records and refused before any data are decoded.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.npz_reader import MAX_COMPRESSION_RATIO, RATIO_CHECKED_FROM_BYTES
from trainables.errors import DataError, UnsafeDataError

__all__ = ["read_hdf5"]

MAX_DATASET_BYTES = 1 << 28
"""The largest published test sequence's largest array has 2.5 MB."""
MAX_RANK = 8
_MALFORMED = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, zlib.error)
_CURE = "it is truncated or damaged, copy or download it again"


def read_hdf5(path: Path, keys: Collection[str]) -> dict[str, NDArray[Any]]:
    """Read numeric arrays from the top level of an HDF5 file; nothing else in it is opened.

    Args:
        path: The file.
        keys: Which arrays.

    Returns:
        The arrays by name, in HDF5's order of axes, which is the reverse of MATLAB's.

    Raises:
        UnsafeDataError: A key leads out of the file, or unpacks to an absurd size.
        DataError: The file is missing, malformed or another format, lacks a key, or a key is no
            plain numeric array.
    """
    import h5py  # takes a fifth of a second, which only this format should cost

    try:
        with path.open("rb") as stream:
            if stream.read(10) == b"MATLAB 5.0":
                raise DataError(
                    f"{path}: a MATLAB file of version 7 or older, expected version 7.3 (HDF5); "
                    "save it in MATLAB with -v7.3"
                )
        with h5py.File(path, "r", locking=False) as file:
            present = set(file)  # names only; `in file` would follow links
            missing = sorted(set(keys) - present)
            if missing:
                raise DataError(
                    f"{path}: found the arrays {sorted(present)}, expected {missing} as well; "
                    "is this the right file?"
                )
            return {key: _read_dataset(file, key, f"{path} [{key}]") for key in keys}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _MALFORMED as error:
        raise DataError(
            f"{path}: not a readable HDF5 file ({type(error).__name__}: {error}); {_CURE}"
        ) from error


def _read_dataset(file: Any, key: str, where: str) -> NDArray[Any]:
    """Check link, type, storage and sizes by HDF5's low-level calls, then read."""
    import h5py

    kind = file.id.links.get_info(key.encode()).type
    if kind != h5py.h5l.TYPE_HARD:
        raise UnsafeDataError(
            f"{where}: a link to another place or file; refused, only arrays that the file itself "
            "holds are read"
        )
    opened = h5py.h5o.open(file.id, key.encode())
    if not isinstance(opened, h5py.h5d.DatasetID):
        raise DataError(f"{where}: a group or type, expected an array of numbers")
    created = opened.get_create_plist()
    _refuse_outside_storage(created, where)
    if opened.get_type().get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        raise DataError(
            f"{where}: HDF5 type class {opened.get_type().get_class()} (text, reference, record "
            "or opaque), expected an array of numbers"
        )
    _check_filters(created, where)
    _check_sizes(opened, created, where)
    return np.asarray(h5py.Dataset(opened)[()])


def _refuse_outside_storage(created: Any, where: str) -> None:
    """The data must lie in this file."""
    import h5py

    if created.get_layout() == h5py.h5d.VIRTUAL:
        raise UnsafeDataError(f"{where}: a virtual data set, made of other files; refused")
    if created.get_external_count() > 0:
        name = created.get_external(0)[0]
        raise UnsafeDataError(f"{where}: its data lie in another file, {name!r}; refused")


def _check_filters(created: Any, where: str) -> None:
    """Only gzip and shuffle; other filters may be code that is loaded from elsewhere."""
    import h5py

    filters = [created.get_filter(index)[0] for index in range(created.get_nfilters())]
    known = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
    if set(filters) - known:
        raise UnsafeDataError(
            f"{where}: uses the HDF5 filters {filters}; refused, only gzip and shuffle are read"
        )
    if len(filters) != len(set(filters)):
        raise UnsafeDataError(f"{where}: is compressed twice over ({filters}); refused")


def _check_sizes(opened: Any, created: Any, where: str) -> None:
    """What is declared must be bounded, and there."""
    import h5py

    shape = tuple(int(size) for size in opened.shape)
    item = int(opened.get_type().get_size())
    declared, stored = math.prod(shape) * item, int(opened.get_storage_size())
    chunked = created.get_layout() == h5py.h5d.CHUNKED
    chunk = math.prod(created.get_chunk()) * item if chunked else 0
    ratio = declared / max(stored, 1)
    if max(declared, chunk) > MAX_DATASET_BYTES or (
        declared > RATIO_CHECKED_FROM_BYTES and ratio > MAX_COMPRESSION_RATIO
    ):
        raise UnsafeDataError(
            f"{where}: claims to unpack to {max(declared, chunk)} bytes ({ratio:.0f} times its "
            f"size in the file); refused, the limits are {MAX_DATASET_BYTES} bytes, and a factor "
            f"of {MAX_COMPRESSION_RATIO} above {RATIO_CHECKED_FROM_BYTES} bytes"
        )
    if len(shape) > MAX_RANK or item not in (1, 2, 4, 8):
        raise DataError(f"{where}: shape {shape} of {item}-byte items, expected plain numbers")
    if declared and not stored:
        raise DataError(f"{where}: declares the shape {shape} but holds no data; {_CURE}")
    if chunked:
        _check_chunks(opened, created, chunk, where)


def _check_chunks(opened: Any, created: Any, chunk_bytes: int, where: str) -> None:
    """Each compressed chunk must unpack to what is declared; HDF5 itself sets no limit."""
    import h5py

    filters = [created.get_filter(index)[0] for index in range(created.get_nfilters())]
    expected = math.prod(
        math.ceil(size / step)
        for size, step in zip(opened.shape, created.get_chunk(), strict=True)
    )
    count = opened.get_num_chunks()
    if count != expected:
        raise DataError(f"{where}: {count} of {expected} pieces are there; {_CURE}")
    for index in range(count):
        info = opened.get_chunk_info(index)
        if info.filter_mask or info.size > chunk_bytes + (chunk_bytes >> 4) + 1024:
            raise DataError(f"{where}: piece {index} is not stored as declared; {_CURE}")
        _mask, raw = opened.read_direct_chunk(info.chunk_offset)
        if h5py.h5z.FILTER_DEFLATE in filters:
            unpacker = zlib.decompressobj()
            size = len(unpacker.decompress(raw, chunk_bytes + 1))
            if size > chunk_bytes:
                raise UnsafeDataError(
                    f"{where}: piece {index} unpacks to more than the {chunk_bytes} bytes that "
                    "it declares; refused"
                )
        else:
            size = len(raw)
        if size != chunk_bytes:
            raise DataError(f"{where}: piece {index} has {size} of {chunk_bytes} bytes; {_CURE}")
