"""Reading VideoPose3D's Human3.6M files: `data_3d_h36m.npz` and `data_2d_h36m_<name>.npz`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.arrays import check_sequence
from trainables.data.h36m.cameras import CAMERA_IDS
from trainables.data.npz_reader import read_npz
from trainables.data.recordings import RecordingRow, read_recordings
from trainables.data.source_files import find_files, require_folder
from trainables.errors import DataError
from trainables.skeletons import H36M_17

__all__ = ["H36MFiles", "h36m_files", "read_files"]

JOINTS_32 = 32
KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""The usual 17 of Human3.6M's 32 joints, in the order of `H36M_17`."""

SEQUENCES_FILE = "sequences.csv"
HOW_TO_GET = (
    "make the files with VideoPose3D's data/prepare_data_h36m.py from your licensed copy of "
    "Human3.6M (docs/data.md), and name their folder with --data-dir"
)


@dataclass(frozen=True)
class H36MFiles:
    """The decoded files.

    Attributes:
        path_3d: Where the 3D came from, for messages.
        path_2d: Where the 2D came from, for messages.
        positions_m: World joints by subject and action, metres, (T, 17, 3).
        pixels: 2D key points by subject and action, one array (T', 17, 2) per camera.
        recordings: Rows of `sequences.csv` by subject and action; empty without that file.
        notes: What was found, for people.
    """

    path_3d: Path
    path_2d: Path
    positions_m: Mapping[str, Mapping[str, NDArray[Any]]]
    pixels: Mapping[str, Mapping[str, list[NDArray[Any]]]]
    recordings: Mapping[tuple[str, str], RecordingRow]
    notes: tuple[str, ...]


def h36m_files(config: DataConfig, folder: Path) -> tuple[Path, ...]:
    """The files that `read_files` may read; the last one is optional."""
    names = ("data_3d_h36m.npz", f"data_2d_h36m_{config.keypoints}.npz", SEQUENCES_FILE)
    return tuple(folder / name for name in names)


def read_files(folder: Path | None, keypoints: str) -> H36MFiles:
    """Find, read and check the two files, and `sequences.csv` where there is one.

    Args:
        folder: The data folder.
        keypoints: Which 2D file: `gt`, `cpn_ft_h36m_dbb`, ...

    Returns:
        The decoded files.

    Raises:
        DataError: A file is missing, unreadable or malformed.
        UnsafeDataError: A file asks for code to be run.
    """
    folder = require_folder(folder, dataset="h36m", cure=HOW_TO_GET)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", keypoints) is None:
        raise DataError(
            f"keypoints={keypoints!r} is no file suffix; expected the NAME of one of the files "
            "data_2d_h36m_NAME.npz, such as 'gt'"
        )
    names = ("data_3d_h36m.npz", f"data_2d_h36m_{keypoints}.npz")
    path_3d, path_2d = find_files(folder, names, cure=HOW_TO_GET)
    positions = read_npz(path_3d, ("positions_3d",))["positions_3d"]
    archive_2d = read_npz(path_2d)
    notes: list[str] = []
    if "positions_2d" not in archive_2d:
        raise DataError(
            f"{path_2d}: found the arrays {sorted(archive_2d)}, expected 'positions_2d'"
        )
    _check_metadata(archive_2d.get("metadata"), path_2d, notes)
    recordings = read_recordings(folder / SEQUENCES_FILE)
    if recordings:
        notes.append(f"{SEQUENCES_FILE} names the recording behind each sequence")
    return H36MFiles(
        path_3d=path_3d,
        path_2d=path_2d,
        positions_m=_checked_3d(positions, path_3d),
        pixels=_checked_2d(archive_2d["positions_2d"], path_2d),
        recordings=recordings,
        notes=tuple(notes),
    )


def _check_metadata(metadata: object, path: Path, notes: list[str]) -> None:
    """Compare the 2D file's own description with the skeleton."""
    if not isinstance(metadata, dict):
        notes.append(f"{path.name} has no metadata; Human3.6M's joint order is assumed")
        return
    expected = {
        "num_joints": H36M_17.num_joints,
        "keypoints_symmetry": [list(H36M_17.left), list(H36M_17.right)],
    }
    for key, value in expected.items():
        found = metadata.get(key, value)
        if _as_lists(found) != value:
            raise DataError(f"{path}: metadata says {key}={found}, expected {value}")


def _as_lists(value: object) -> object:
    """Tuples and arrays as lists, all the way down, so that they can be compared."""
    if isinstance(value, np.ndarray):
        return _as_lists(value.tolist())
    return [_as_lists(part) for part in value] if isinstance(value, (list, tuple)) else value


def _per_action(value: object, path: Path, what: str) -> dict[str, dict[str, Any]]:
    """Check the nesting {subject: {action: ...}}."""
    if not isinstance(value, dict) or not value:
        found = "empty" if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{path}: {what} is {found}, expected {{subject: {{action: array}}}}")
    _require_names(value, f"{path}: {what}")
    for subject, actions in value.items():
        if not isinstance(actions, dict):
            raise DataError(
                f"{path}: {what}[{subject!r}] is {type(actions).__name__}, expected "
                "{action: array}"
            )
        _require_names(actions, f"{path}: {what}[{subject!r}]")
    return value


def _require_names(keys: Iterable[object], where: str) -> None:
    """Subjects and actions are named by text."""
    for key in keys:
        if not isinstance(key, str):
            raise DataError(f"{where} has the key {key!r}, expected a name")


def _checked_3d(value: object, path: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Check each (T, 32, 3) array, and keep the usual 17 joints."""
    checked: dict[str, dict[str, NDArray[Any]]] = {}
    for subject, actions in _per_action(value, path, "positions_3d").items():
        checked[subject] = {}
        for action, points in actions.items():
            name = f"{path}: 3D of {subject} {action!r}"
            check_sequence(points, name, (JOINTS_32, 3))
            checked[subject][action] = points[:, KEPT_JOINTS]
    return checked


def _checked_2d(value: object, path: Path) -> dict[str, dict[str, list[NDArray[Any]]]]:
    """Check each camera's (T, 17, 2) array; a third coordinate (confidence) is dropped."""
    checked: dict[str, dict[str, list[NDArray[Any]]]] = {}
    for subject, actions in _per_action(value, path, "positions_2d").items():
        checked[subject] = {}
        for action, views in actions.items():
            name = f"{path}: 2D of {subject} {action!r}"
            if not isinstance(views, (list, tuple, np.ndarray)) or len(views) != len(CAMERA_IDS):
                raise DataError(
                    f"{name} is no list of {len(CAMERA_IDS)} arrays, one for each of the cameras "
                    f"{', '.join(CAMERA_IDS)}"
                )
            for view, pixels in zip(CAMERA_IDS, views, strict=True):
                check_sequence(pixels, f"{name}, camera {view}", (H36M_17.num_joints, 2))
            checked[subject][action] = [pixels[..., :2] for pixels in views]
    return checked
