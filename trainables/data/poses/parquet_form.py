"""Poses as a Parquet file: the same columns, points as lists of fixed length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainables.data.poses.metadata import MAX_METADATA_CHARACTERS, PosesMetadata, read_metadata
from trainables.data.poses.table import COLUMNS, Column, Labels, PoseTable, check_table
from trainables.errors import DataError, UnsafeDataError
from trainables.names import first_few

__all__ = ["read_parquet_table", "write_parquet_table"]

METADATA_KEY = b"poses"
MAX_BYTES = 8 << 30
"""Human3.6M in full, with all views, takes about 2 GB."""
MAX_FOOTER_BYTES = 64 << 20
MAX_FOOTER_ITEMS = 1_000_000
MAX_TEXT_BYTES = 256 << 20
_ROWS_PER_GROUP = 1 << 16


def read_parquet_table(path: Path) -> PoseTable:
    """Read `poses.parquet`: the footer first, and nothing else until that has been checked.

    Raises:
        DataError: The file is damaged, or what it holds is malformed.
        UnsafeDataError: It claims to unpack to absurd sizes.
    """
    try:
        with _open(path, ()) as file:
            metadata = _read_metadata(file, path)
            _check_footer(file, metadata, path)
            names = file.schema_arrow.names
        with _open(path, [name for name in names if COLUMNS[name].kind == "text"]) as file:
            columns = {name: _decode(file, name, metadata, path) for name in names}
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({error}); it is truncated or damaged, copy or "
            "write it again"
        ) from error
    return check_table(metadata, columns, str(path))


def _open(path: Path, dictionaries: Sequence[str]) -> pq.ParquetFile:
    """Read the footer; text of the columns named comes as codes, each value of it once."""
    return pq.ParquetFile(
        path,
        read_dictionary=list(dictionaries),
        thrift_string_size_limit=MAX_FOOTER_BYTES,
        thrift_container_size_limit=MAX_FOOTER_ITEMS,
        arrow_extensions_enabled=False,
    )


def _read_metadata(file: pq.ParquetFile, path: Path) -> PosesMetadata:
    raw = (file.metadata.metadata or {}).get(METADATA_KEY)
    where = f"{path} [metadata {METADATA_KEY.decode()!r}]"
    if raw is None:
        raise DataError(
            f"{where}: missing; expected a text (JSON) with unit, skeleton and cameras under this "
            "key of the file's metadata"
        )
    if len(raw) > MAX_METADATA_CHARACTERS:
        raise DataError(f"{where}: {len(raw)} bytes, expected at most {MAX_METADATA_CHARACTERS}")
    try:
        return read_metadata(raw.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 ({error})") from error


def _check_footer(file: pq.ParquetFile, metadata: PosesMetadata, path: Path) -> None:
    """Refuse by schema and sizes alone."""
    joints, rows = metadata.build_skeleton().num_joints, file.metadata.num_rows
    unknown = [name for name in file.schema_arrow.names if name not in COLUMNS]
    if unknown:
        raise DataError(
            f"{path}: has the unknown columns {first_few(unknown)}; expected some of "
            f"{', '.join(COLUMNS)}; when a table comes from pandas, write it with index=False"
        )
    for field in file.schema_arrow:
        if not _type_fits(field.type, COLUMNS[field.name]):
            raise DataError(
                f"{path}: column {field.name} is {field.type}, expected "
                f"{_expected_type(COLUMNS[field.name], joints)}"
            )
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    claimed = sum(group.total_byte_size for group in groups)
    decoded = rows * (8 * (5 * joints + 5) + 4 * len(COLUMNS))
    if max(claimed, decoded) > MAX_BYTES or rows < 0 or claimed < 0:
        raise UnsafeDataError(
            f"{path}: claims to unpack to {max(claimed, decoded)} bytes ({rows} rows); refused, "
            f"the limit is {MAX_BYTES} bytes"
        )
    if sum(group.num_rows for group in groups) != rows:
        raise DataError(f"{path}: the row groups do not add up to {rows} rows; it is damaged")
    _check_chunks(groups, joints, path)


def _check_chunks(groups: Sequence[pq.RowGroupMetaData], joints: int, path: Path) -> None:
    """Refuse lists of other lengths than a pose has: repeated numbers take no room in a file."""
    for group in groups:
        for index in range(group.num_columns):
            chunk = group.column(index)
            name = chunk.path_in_schema.split(".")[0]
            each = int(np.prod(COLUMNS[name].row_shape(joints)))
            if chunk.num_values != group.num_rows * each:
                raise DataError(
                    f"{path}: column {name} has {chunk.num_values} values in {group.num_rows} "
                    f"rows, expected {each} in each row ({_expected_type(COLUMNS[name], joints)})"
                )
            if COLUMNS[name].kind == "text" and chunk.total_uncompressed_size > MAX_TEXT_BYTES:
                raise UnsafeDataError(
                    f"{path}: column {name} claims {chunk.total_uncompressed_size} bytes of text; "
                    f"refused, the limit is {MAX_TEXT_BYTES} bytes"
                )


def _type_fits(kind: pa.DataType, column: Column) -> bool:
    if column.kind in ("points_2d", "points_3d", "place"):
        return _is_list(kind) and bool(pa.types.is_floating(kind.value_type))
    if column.kind == "text":
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_string(value) or pa.types.is_large_string(value))
    if column.kind == "whole":
        return bool(pa.types.is_integer(kind))
    if column.kind == "flag":
        return bool(pa.types.is_boolean(kind))
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_fixed_size_list, types.is_list, types.is_large_list)
    return any(test(kind) for test in tests)


def _expected_type(column: Column, joints: int) -> str:
    size = int(np.prod(column.row_shape(joints)))
    return {
        "text": "string",
        "whole": "a whole number",
        "flag": "bool",
        "real": "a number",
    }.get(column.kind, f"a list of {size} numbers (float64)")


def _decode(file: pq.ParquetFile, name: str, metadata: PosesMetadata, path: Path) -> Any:
    """One column as an array, or as labels."""
    column = file.read([name], use_threads=False).column(name)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{path}: column {name}, row {row}: no value; every row must have one")
    kind = COLUMNS[name]
    if kind.kind == "text":
        return _labels(column)
    shape = kind.row_shape(metadata.build_skeleton().num_joints)
    if not shape:
        return column.to_numpy()
    parts = [_points(chunk, shape, name, path) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.zeros((0, *shape))


def _points(chunk: pa.Array, shape: tuple[int, ...], name: str, path: Path) -> NDArray[Any]:
    """Lists of numbers as an array (rows, *shape)."""
    size = int(np.prod(shape))
    lengths = chunk.value_lengths().to_numpy(zero_copy_only=False)
    values = chunk.flatten()
    if (lengths != size).any():
        row = int(np.flatnonzero(lengths != size)[0])
        raise DataError(
            f"{path}: column {name} has a list of {lengths[row]} numbers, expected {size} "
            f"{shape}, joint after joint"
        )
    if values.null_count:
        raise DataError(f"{path}: column {name} holds empty values; every joint must have a place")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(-1, *shape)


def _labels(column: pa.ChunkedArray) -> Labels:
    """Number the values of a text column."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    if not column.num_chunks:
        return Labels((), np.zeros(0, np.int32))
    names = tuple(column.chunk(0).dictionary.to_pylist())
    codes = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return Labels(names, np.concatenate(codes).astype(np.int32))


def write_parquet_table(table: PoseTable, stream: IO[bytes]) -> None:
    """Write a table."""
    names = [name for name in COLUMNS if name in table.columns]
    arrays = [_encode(table.columns[name]) for name in names]
    facts = {METADATA_KEY: table.metadata.to_json().encode()}
    rows = pa.table(dict(zip(names, arrays, strict=True))).replace_schema_metadata(facts)
    pq.write_table(rows, stream, compression="zstd", row_group_size=_ROWS_PER_GROUP)


def _encode(column: Any) -> pa.Array:
    if isinstance(column, Labels):
        codes = pa.array(column.codes)
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.names, pa.string()))
    if column.ndim == 1:
        return pa.array(column)
    flat = np.ascontiguousarray(column).reshape(len(column), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
