"""The rows of a poses file as checked columns, whatever kind of file they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import Float64Array
from trainables.data.poses.metadata import PosesMetadata
from trainables.errors import DataError
from trainables.names import first_few

__all__ = ["COLUMNS", "Column", "ColumnKind", "Labels", "PoseTable", "check_table"]

ColumnKind: TypeAlias = Literal["points_2d", "points_3d", "place", "text", "whole", "real", "flag"]

MAX_TEXT_CHARACTERS = 200
_MAY_BE_EMPTY = ("source", "base_action")
_INT32 = np.iinfo(np.int32)
FPS_LIMITS = (1e-3, 1e4)
"""Frames per second; data that were thinned may have less than one."""
_EXPECTED_KINDS = {
    "iu": "whole numbers",
    "b": "true or false",
    "fiu": "numbers",
    "f": "floating-point numbers",
}


@dataclass(frozen=True)
class Labels:
    """A column of text.

    Attributes:
        names: Its different values.
        codes: Which of them each row has, (N,), int32.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, values: NDArray[np.str_]) -> Labels:
        """Number the values of a column."""
        names, codes = np.unique(values, return_inverse=True)
        return cls(tuple(map(str, names)), codes.reshape(-1).astype(np.int32))

    def row(self, index: int) -> str:
        """The value of a row."""
        return self.names[int(self.codes[index])]

    def values(self) -> NDArray[np.str_]:
        """The value of each row, (N,)."""
        return np.asarray(self.names, dtype=np.str_)[self.codes]


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        kind: `points_2d` and `points_3d`: one point per joint; `place`: one point; else one
            value.
        needed: Whether a file must have it.
    """

    kind: ColumnKind
    needed: bool = True

    def row_shape(self, joints: int) -> tuple[int, ...]:
        """Shape of what a row holds."""
        shapes = {"points_2d": (joints, 2), "points_3d": (joints, 3), "place": (3,)}
        return shapes.get(self.kind, ())


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "pose_2d": Column("points_2d"),
        "pose_3d": Column("points_3d"),
        "subject": Column("text"),
        "action": Column("text"),
        "sequence": Column("text"),
        "frame": Column("whole"),
        "camera": Column("text"),
        "split": Column("text"),
        "source": Column("text", needed=False),
        "base_action": Column("text", needed=False),
        "fps": Column("real", needed=False),
        "valid": Column("flag", needed=False),
        "ordered": Column("flag", needed=False),
        "origin_3d": Column("place", needed=False),
    }
)
"""All columns by name, in the order in which they are written."""


@dataclass(frozen=True)
class PoseTable:
    """A poses file, decoded and checked.

    Attributes:
        metadata: What it says of itself.
        columns: By name: `Labels` for text, else arrays (N, ...): float64, int64 or bool.
    """

    metadata: PosesMetadata
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["frame"])

    def text(self, name: str) -> Labels | None:
        """A column of text; None if the file has none of this name."""
        found: Labels | None = self.columns.get(name)
        return found

    def needed_text(self, name: str) -> Labels:
        """A column of text that every file has."""
        found: Labels = self.columns[name]
        return found

    def numbers(self, name: str) -> Float64Array | None:
        """A column of numbers; None if the file has none of this name."""
        found: Float64Array | None = self.columns.get(name)
        return found


def check_table(metadata: PosesMetadata, columns: Mapping[str, Any], where: str) -> PoseTable:
    """Check columns against the metadata and against each other.

    Args:
        metadata: Of the file.
        columns: By name, as `PoseTable` holds them; whole numbers and flags of any width.
        where: The file, for messages.

    Raises:
        DataError: A column is missing, unknown, of another shape, or holds something that it
            may not; names column and row (counted from 0).
    """
    needed = {name for name, column in COLUMNS.items() if column.needed}
    missing, unknown = sorted(needed - set(columns)), sorted(set(columns) - set(COLUMNS))
    if missing or unknown:
        faults = [f"lacks {', '.join(missing)}"] if missing else []
        faults += [f"has the unknown columns {first_few(unknown)}"] if unknown else []
        raise DataError(
            f"{where}: {' and '.join(faults)}; expected the columns {', '.join(sorted(needed))}, "
            f"and if you like {', '.join(sorted(set(COLUMNS) - needed))}"
        )
    _check_shapes(metadata, columns, where)
    checked = {name: _checked(name, values, where) for name, values in columns.items()}
    table = PoseTable(metadata, MappingProxyType(checked))
    _check_splits(table, where)
    _check_cameras(table, where)
    if metadata.fps is None and "fps" not in columns:
        raise DataError(f"{where}: no frame rate; add the column fps, or fps to the metadata")
    return table


def _check_shapes(metadata: PosesMetadata, columns: Mapping[str, Any], where: str) -> None:
    joints = metadata.build_skeleton().num_joints
    frames = np.shape(columns["frame"])
    count = frames[0] if len(frames) == 1 else 0
    for name, values in columns.items():
        found = np.shape(values.codes if isinstance(values, Labels) else values)
        expected = (count, *COLUMNS[name].row_shape(joints))
        if found != expected:
            raise DataError(
                f"{where}: column {name} has the shape {found}, expected {expected}: "
                f"{count} rows (as `frame` has), {joints} joints of the skeleton"
            )
    if not count:
        raise DataError(f"{where}: no poses; expected one row per pose")


def _checked(name: str, values: Any, where: str) -> Any:
    """A column in the type that it has in a `PoseTable`, its values checked."""
    if isinstance(values, Labels):
        _check_text(name, values, where)
        return values
    kind = COLUMNS[name].kind
    # small integers would take eight times their room as float64
    allowed = {"whole": "iu", "flag": "b", "real": "fiu"}.get(kind, "f")
    if values.dtype.kind not in allowed:
        expected = _EXPECTED_KINDS[allowed]
        raise DataError(f"{where}: column {name} is {values.dtype}, expected {expected}")
    if kind == "flag":
        return values
    wrong = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    fault = "NaN or infinity"
    if kind == "whole":
        wrong, fault = (values < _INT32.min) | (values > _INT32.max), "a number beyond 32 bits"
    elif kind == "real" and not wrong.any():
        low, high = FPS_LIMITS
        wrong, fault = (values < low) | (values > high), f"a number outside {low:g} to {high:g}"
    rows = np.flatnonzero(wrong)
    if rows.size:
        raise DataError(
            f"{where}: column {name} holds {fault} in {rows.size} rows, first in row {rows[0]}; "
            "mend or leave out these rows"
        )
    return values.astype(np.int64 if kind == "whole" else np.float64, copy=False)


def _check_text(name: str, labels: Labels, where: str) -> None:
    for code, value in enumerate(labels.names):
        fault = ""
        if not value.strip() and name not in _MAY_BE_EMPTY:
            fault = "is empty"
        elif len(value) > MAX_TEXT_CHARACTERS:
            fault = f"has {len(value)} characters, expected at most {MAX_TEXT_CHARACTERS}"
        elif value and not value.isprintable():
            fault = f"holds characters that cannot be printed: {value!r}"
        rows = np.flatnonzero(labels.codes == code) if fault else np.zeros(0)
        if rows.size:
            raise DataError(f"{where}: column {name}, row {rows[0]}: the text {fault}")


def _check_splits(table: PoseTable, where: str) -> None:
    known = ("train", "val", "test")
    split = table.needed_text("split")
    for code in np.unique(split.codes):
        if split.names[code] not in known:
            row = int(np.flatnonzero(split.codes == code)[0])
            raise DataError(
                f"{where}: column split, row {row}: {split.names[code]!r}, expected one of "
                f"{', '.join(known)}"
            )


def _check_cameras(table: PoseTable, where: str) -> None:
    cameras = table.needed_text("camera")
    for code in np.unique(cameras.codes):
        if cameras.names[code] not in table.metadata.cameras:
            row = int(np.flatnonzero(cameras.codes == code)[0])
            raise DataError(
                f"{where}: column camera, row {row}: {cameras.names[code]!r} is none of the "
                f"metadata's cameras: {first_few(list(table.metadata.cameras))}"
            )
