"""Reading P-STMO's files of MPI-INF-3DHP: `data_train_3dhp.npz`, `data_test_3dhp.npz`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.arrays import require_mapping
from trainables.data.mpi_inf_3dhp.views import View, checked_valid, checked_view
from trainables.data.npz_reader import NpzValue, read_npz
from trainables.errors import DataError

__all__ = [
    "TEST_SUBJECTS",
    "TRAINING_SUBJECTS",
    "TrainingSequence",
    "read_test_npz",
    "read_training_npz",
]

TRAINING_SUBJECTS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6")
_SEQUENCE_NAME = re.compile(r"S\d+ Seq\d+")
_CAMERA_NAME = re.compile(r"\d{1,2}")
_VIEW_KEYS = ("data_3d", "data_2d")


@dataclass(frozen=True)
class TrainingSequence:
    """A sequence of the training file.

    Attributes:
        views: By the number of the camera, as text.
        fps: Frames per second.
    """

    views: Mapping[str, View]
    fps: float


def read_training_npz(path: Path, notes: list[str]) -> dict[str, TrainingSequence]:
    """Read and check `data_train_3dhp.npz`.

    Args:
        path: The file; `data` = {"S1 Seq1": [{camera: {"data_3d", "data_2d"}}, fps], ...}.
        notes: Takes what was done.

    Returns:
        Sequences by name.

    Raises:
        DataError: The file is missing, unreadable or malformed.
        UnsafeDataError: The file asks for code to be run.
    """
    sequences: dict[str, TrainingSequence] = {}
    for name, entry in _mapping(read_npz(path, ("data",))["data"], f"{path}: data").items():
        where = f"{path}: {name}"
        if not isinstance(name, str) or _SEQUENCE_NAME.fullmatch(name) is None:
            raise DataError(f"{path}: data has the key {name!r}, expected a name like 'S1 Seq1'")
        cameras, fps = _cameras_and_fps(entry, where)
        views: dict[str, View] = {}
        for key, view in _mapping(cameras, where).items():
            camera = _camera_name(key, where)
            if camera in views:
                raise DataError(f"{where} has camera {camera} twice, as text and as a number")
            views[camera] = _training_view(view, f"{where}, camera {camera}", notes)
        sequences[name] = TrainingSequence(views, fps)
    return sequences


def read_test_npz(path: Path, notes: list[str]) -> dict[str, View]:
    """Read and check `data_test_3dhp.npz`.

    Args:
        path: The file; `data` = {"TS1": {"data_3d", "data_2d", "valid"}, ...}.
        notes: Takes what was done.

    Returns:
        Sequences by name; 2D and 3D of frames that are not scored are finite all the same.

    Raises:
        DataError: The file is missing, unreadable or malformed.
        UnsafeDataError: The file asks for code to be run.
    """
    sequences: dict[str, View] = {}
    for name, entry in _mapping(read_npz(path, ("data",))["data"], f"{path}: data").items():
        if name not in TEST_SUBJECTS:
            raise DataError(
                f"{path}: data has the key {name!r}, expected {' or '.join(TEST_SUBJECTS)}"
            )
        where = f"{path}: {name}"
        fields = _fields(entry, where, (*_VIEW_KEYS, "valid"))
        valid = checked_valid(fields["valid"], f"{where}: valid")
        sequences[name] = checked_view(
            fields["data_3d"], fields["data_2d"], where, notes, valid=valid
        )
    return sequences


def _training_view(value: NpzValue, where: str, notes: list[str]) -> View:
    fields = _fields(value, where, _VIEW_KEYS)
    return checked_view(fields["data_3d"], fields["data_2d"], where, notes)


def _unwrapped(value: NpzValue) -> NpzValue:
    """What an object array of one element holds; copies of the files differ in this."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        value = value.item()
    return value


def _mapping(value: NpzValue, where: str) -> dict[NpzValue, NpzValue]:
    return require_mapping(_unwrapped(value), where, "a mapping from names to arrays")


def _fields(value: NpzValue, where: str, keys: tuple[str, ...]) -> dict[NpzValue, NpzValue]:
    fields = _mapping(value, where)
    missing = [key for key in keys if key not in fields]
    if missing:
        found = sorted(map(str, fields))
        raise DataError(f"{where} has {found}, expected {' and '.join(missing)} as well")
    return fields


def _cameras_and_fps(entry: NpzValue, where: str) -> tuple[NpzValue, float]:
    """The two parts of a training sequence, in a list, a tuple or an object array."""
    entry = _unwrapped(entry)
    if isinstance(entry, np.ndarray) and entry.dtype == object:
        entry = entry.reshape(-1).tolist()
    if not isinstance(entry, (list, tuple)) or len(entry) != 2:
        found = type(entry).__name__
        raise DataError(
            f"{where} is {found}, expected [mapping of cameras, frames per second], two parts"
        )
    rate = _unwrapped(entry[1])
    if isinstance(rate, np.ndarray) and rate.size == 1:
        rate = rate.item()
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise DataError(f"{where}: the frame rate is {rate!r}, expected a number such as 25 or 50")
    if not (math.isfinite(rate) and rate > 0):
        raise DataError(f"{where}: the frame rate is {rate}, expected a positive number")
    return entry[0], float(rate)


def _camera_name(key: NpzValue, where: str) -> str:
    """A camera's number as text; files have it as text or as a number."""
    name = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
    if not isinstance(name, str) or _CAMERA_NAME.fullmatch(name) is None:
        raise DataError(f"{where} has the camera {key!r}, expected its number, such as '0'")
    return name
