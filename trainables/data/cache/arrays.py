"""The data file: all arrays of a data set one after the other, ready to be mapped."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cache.manifest import ArrayRecord, CacheMissError
from trainables.data.dataset import PoseDataset, PoseSplit

__all__ = ["FIELDS", "array_chunks", "lay_out", "map_splits"]

ALIGNMENT = 64
"""Bytes; what the widest vector instructions and torch ask for."""

FIELDS: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType(
    {
        "x": ("<f4", (-1, 2)),
        "y": ("<f4", (-1, 3)),
        "root": ("<f4", (3,)),
        "sequence": ("<i4", ()),
        "frame": ("<i4", ()),
        "valid": ("|b1", ()),
    }
)
"""Fields of `PoseSplit`: type, and shape behind the number of poses; -1 stands for the joints."""

_OPTIONAL = frozenset({"root", "valid"})


def lay_out(dataset: PoseDataset) -> tuple[tuple[ArrayRecord, ...], int]:
    """Places for all arrays, and the size of the file, bytes.

    Raises:
        ValueError: If an array is of a type that is not kept.
    """
    records = []
    end = 0
    for split, name, array in _arrays(dataset):
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        records.append(
            ArrayRecord.model_validate(
                {
                    "split": split,
                    "field": name,
                    "dtype": array.dtype.str,
                    "shape": array.shape,
                    "offset": offset,
                }
            )
        )
        end = offset + array.nbytes
    return tuple(records), end


def array_chunks(dataset: PoseDataset, records: Sequence[ArrayRecord]) -> Iterator[memoryview]:
    """The file's bytes, in order; no array is copied.

    Args:
        dataset: What is written.
        records: Its layout.
    """
    end = 0
    for record, (_, _, array) in zip(records, _arrays(dataset), strict=True):
        yield memoryview(bytes(record.offset - end))
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        end = record.offset + array.nbytes


def map_splits(
    descriptor: int, records: Sequence[ArrayRecord], *, size: int, num_joints: int
) -> dict[str, PoseSplit]:
    """Map a data file; the arrays are read-only and lie in the file.

    Args:
        descriptor: The open file; it may be closed afterwards.
        records: What is in it.
        size: Its bytes.
        num_joints: Joints J of every pose.

    Returns:
        The splits.

    Raises:
        CacheMissError: If the records contradict each other, the skeleton or the size.
        OSError: If the file cannot be mapped.
    """
    _check_layout(records, size)
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    mapped = mmap.mmap(descriptor, size, flags=flags, prot=mmap.PROT_READ)
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    for record in records:
        fields = arrays.setdefault(record.split, {})
        if record.field in fields:
            raise CacheMissError(f"its manifest names {record.split}.{record.field} twice")
        fields[record.field] = np.frombuffer(
            mapped, dtype=record.dtype, count=math.prod(record.shape), offset=record.offset
        ).reshape(record.shape)
    return {split: _split(split, fields, num_joints) for split, fields in arrays.items()}


def _arrays(dataset: PoseDataset) -> Iterator[tuple[str, str, NDArray[Any]]]:
    for name, split in dataset.splits.items():
        for field in FIELDS:
            array = getattr(split, field)
            if array is not None:
                yield name, field, array


def _check_layout(records: Sequence[ArrayRecord], size: int) -> None:
    """One array behind the other, each aligned, the last one up to the end of the file."""
    end = 0
    for record in records:
        if record.offset % ALIGNMENT or record.offset < end:
            raise CacheMissError(f"its array {record.split}.{record.field} is misplaced")
        end = record.offset + math.prod(record.shape) * np.dtype(record.dtype).itemsize
    if end != size:
        raise CacheMissError(f"its arrays end at byte {end}, its data file at {size}")


def _split(name: str, fields: dict[str, NDArray[Any]], num_joints: int) -> PoseSplit:
    missing = FIELDS.keys() - fields.keys() - _OPTIONAL
    if missing:
        raise CacheMissError(f"its split {name} has no {' and no '.join(sorted(missing))}")
    count = len(fields["x"])
    for field, array in fields.items():
        kind, tail = FIELDS[field]
        shape = (count, *(num_joints if part == -1 else part for part in tail))
        if array.dtype.str != kind or array.shape != shape:
            raise CacheMissError(
                f"its array {name}.{field} is {array.dtype} {array.shape}, expected {kind} {shape}"
            )
    return PoseSplit(
        x=fields["x"],
        y=fields["y"],
        root=fields.get("root"),
        sequence=fields["sequence"],
        frame=fields["frame"],
        valid=fields.get("valid"),
    )
