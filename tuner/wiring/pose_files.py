"""Files of 2D key points: read, checked, normalised."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import normalize_screen
from trainables.skeletons import Skeleton
from tuner.errors import ConfigurationError

__all__ = ["FORMATS", "Keypoints", "check_format", "normalise", "notes_on_range", "read_keypoints"]

LARGEST_NORMALISED = 4.0
"""Twice an image's width from its middle: what lies beyond is no joint of a person in view."""

Read: TypeAlias = tuple[Any, tuple[str, ...]]
"""An array, or what may become one, and notes on how it was read."""


@dataclass(frozen=True)
class Keypoints:
    """What a file of 2D poses holds.

    Attributes:
        values: Finite coordinates as they stand in the file, (N, J, 2).
        notes: How it was read, where that is not plain.
    """

    values: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def check_format(path: Path, *, what: str) -> str:
    """The format that a file's suffix names.

    Raises:
        ConfigurationError: If it is none of ours.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ConfigurationError(
            f"{what} {path}: suffix {path.suffix or '(none)'!r} is unknown; "
            f"known: {', '.join(FORMATS)}"
        )
    return suffix


def read_keypoints(path: Path, skeleton: Skeleton) -> Keypoints:
    """Read 2D poses; nothing in a file is ever run.

    Args:
        path: `.npy`: (N, J, 2). `.npz`: the same as `keypoints`. `.json`: a list of poses, each a
            list of J pairs. `.csv`: a pose a line, x and y of each joint in turn; a first line of
            names, none of them a number, is passed over.
        skeleton: The joints that are expected.

    Returns:
        The poses, and what a user has to know of how they were read.

    Raises:
        ConfigurationError: If the file is missing, damaged, or holds something else.
    """
    reader = _READERS[check_format(path, what="INPUT")]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise ConfigurationError(f"{path} is empty; expected 2D poses (N, J, 2)")
    found, notes = reader(path, content)
    values = _numbers(path, found)
    pair_columns = 2 * skeleton.num_joints
    if path.suffix.lower() == ".csv" and values.shape[1:] == (pair_columns,):
        values = values.reshape(len(values), skeleton.num_joints, 2)
    if values.shape[1:] != (skeleton.num_joints, 2) or not len(values):
        raise ConfigurationError(
            f"{path} holds an array of shape {values.shape}, expected (N, {skeleton.num_joints}, "
            f"2) ({pair_columns} columns in a .csv) with N of at least 1: the joints of "
            f"{skeleton.name} in this order: {', '.join(skeleton.joints)}"
        )
    _check_finite(path, values, skeleton)
    return Keypoints(values, notes)


def normalise(
    keypoints: NDArray[np.float64], *, path: Path, width: int | None, height: int | None
) -> NDArray[np.float32]:
    """Turn pixels into normalised screen coordinates, and refuse what cannot be these.

    Args:
        keypoints: Pixels if the image's size is given, else normalised already, (N, J, 2).
        path: Where they were read.
        width: Width of the image, pixels; None for normalised coordinates.
        height: Height of the image, pixels; None likewise.

    Returns:
        x in [-1, 1] over the width and y by the same scale, (N, J, 2).

    Raises:
        ConfigurationError: If only one of the sizes is given, or the values do not fit them.
    """
    if (width is None) != (height is None):
        raise ConfigurationError("--width and --height belong together: give both, or neither")
    largest = float(np.abs(keypoints).max())
    if width is None or height is None:
        if largest > LARGEST_NORMALISED:
            raise ConfigurationError(
                f"{path} holds coordinates up to {largest:g}, which look like pixels; give the "
                "image's size with --width and --height (normalised ones are about -1 to 1)"
            )
        return keypoints.astype(np.float32)
    if largest <= LARGEST_NORMALISED < width:
        raise ConfigurationError(
            f"{path} holds coordinates within ±{largest:g}, which look normalised already, not "
            "like pixels; leave out --width and --height"
        )
    screen = normalize_screen(keypoints, (width, height))
    if float(np.abs(screen).max()) > LARGEST_NORMALISED * max(1.0, height / width):
        raise ConfigurationError(
            f"{path} holds pixels up to {largest:g}, far outside an image of {width}x{height}; "
            "check --width and --height"
        )
    return screen.astype(np.float32)


def notes_on_range(screen: NDArray[np.float32], *, path: Path) -> tuple[str, ...]:
    """A note on normalised coordinates that look like fractions of the image's size."""
    if screen.min() < 0 or screen.max() > 1:
        return ()
    return (
        f"{path}: all coordinates lie within 0 to 1; they are read as centred screen coordinates "
        "(x from -1 to 1 over the image's width, y by the same scale, 0 in the middle); if they "
        "are fractions of the image's size, turn them into pixels and give --width and --height",
    )


def _numbers(path: Path, values: Any) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"found {array.dtype}")
        return array.astype(np.float64)
    except ValueError as error:
        raise ConfigurationError(
            f"{path} holds no regular array of numbers (N, J, 2): {error}"
        ) from error


def _check_finite(path: Path, values: NDArray[np.float64], skeleton: Skeleton) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        pose, joint = int(bad[0, 0]), skeleton.joints[int(bad[0, 1])]
        raise ConfigurationError(
            f"{path} holds NaN or infinity: {len(np.unique(bad[:, 0]))} of {len(values)} poses, "
            f"first in pose {pose} (from 0), joint {joint}; every joint must have a position"
        )


def _load(path: Path, content: bytes) -> Any:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"{path} is damaged, or holds pickled objects, which are refused: {error}"
        ) from error


def _read_npy(path: Path, content: bytes) -> Read:
    return _load(path, content), ()


def _read_npz(path: Path, content: bytes) -> Read:
    archive = _load(path, content)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ConfigurationError(f"{path} is no npz archive; name a single array .npy")
    with archive:
        if "keypoints" not in archive.files:
            names = ", ".join(archive.files) or "nothing"
            raise ConfigurationError(f"{path} holds {names}; expected an array `keypoints`")
        try:
            return archive["keypoints"], ()
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ConfigurationError(
                f"{path}: `keypoints` is damaged, or pickled, which is refused: {error}"
            ) from error


def _read_json(path: Path, content: bytes) -> Read:
    try:
        return json.loads(content), ()
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no valid JSON: {error}") from error


def _read_csv(path: Path, content: bytes) -> Read:
    try:
        cells = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} is no valid CSV: {error}") from error
    lines = [(number, line) for number, line in enumerate(cells, start=1) if line]
    for number, line in lines:
        if len(line) != len(lines[0][1]):
            raise ConfigurationError(
                f"{path}, line {number}: {len(line)} columns, {len(lines[0][1])} before"
            )
    notes: tuple[str, ...] = ()
    if lines and _is_header(lines[0][1]):
        notes = (f"{path}: line {lines[0][0]} holds no number; passed over as a header",)
        del lines[0]
    rows = [_row(path, number, line) for number, line in lines]
    return np.asarray(rows, dtype=np.float64), notes


def _is_header(line: Sequence[str]) -> bool:
    """Whether a line names columns: no cell is a number, and not all of them are blank."""
    return any(cell.strip() for cell in line) and all(_number(cell) is None for cell in line)


def _row(path: Path, number: int, line: Sequence[str]) -> list[float]:
    row = []
    for column, cell in enumerate(line, start=1):
        value = _number(cell)
        if value is None:
            raise ConfigurationError(
                f"{path}, line {number}, column {column}: {cell!r} is no number; every joint "
                "must have a position"
            )
        row.append(value)
    return row


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


_READERS: Mapping[str, Callable[[Path, bytes], Read]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".json": _read_json,
    ".csv": _read_csv,
}

FORMATS = tuple(_READERS)
"""Suffixes of files that are read and written."""
