"""Calibration of MPI-INF-3DHP's cameras, where it can be had."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.arrays import require_mapping
from trainables.data.cameras import project
from trainables.data.dataset import Camera
from trainables.data.mpi_inf_3dhp.files import TEST_SUBJECTS
from trainables.data.mpi_inf_3dhp.views import View
from trainables.data.source_files import check_file
from trainables.errors import DataError

__all__ = [
    "CAMERAS_FILE",
    "PUBLISHED_TEST_CAMERAS",
    "TEST_VIEW",
    "CameraKey",
    "image_size",
    "read_cameras",
    "reprojection_px",
]

CAMERAS_FILE = "cameras_3dhp.json"
TEST_VIEW = "test"
"""Name of a test sequence's only camera."""
CAMERAS = "a JSON object of cameras"
MAX_FILE_BYTES = 16 << 20
MAX_PIXELS = 1e6
_INDOOR, _OUTDOOR = (2048, 2048), (1920, 1080)
_OUTDOOR_SUBJECTS = ("TS5", "TS6")

CameraKey = tuple[str, str]
"""Subject and camera; a test sequence and `TEST_VIEW`."""


def image_size(subject: str) -> tuple[int, int]:
    """Width and height of a subject's images, pixels."""
    return _OUTDOOR if subject in _OUTDOOR_SUBJECTS else _INDOOR


_STUDIO = Camera(*_INDOOR, focal=(1500.17, 1500.17), center=(1017.39, 1043.03))
_FIELD = Camera(*_OUTDOOR, focal=(1683.98, 1683.98), center=(939.86, 560.14))
PUBLISHED_TEST_CAMERAS: Mapping[str, Camera] = {
    subject: _FIELD if subject in _OUTDOOR_SUBJECTS else _STUDIO for subject in TEST_SUBJECTS
}
"""Intrinsics of the official test set, as D3DP's code has them."""


def reprojection_px(view: View, camera: Camera) -> float:
    """Median distance of a view's 2D from its projected 3D, scored frames, pixels."""
    scored = slice(None) if view.valid is None else view.valid
    points_m = view.points_mm[scored].astype(np.float64) / 1000.0
    difference = project(points_m, camera) - view.pixels[scored]
    return float(np.median(np.linalg.norm(difference, axis=-1)))


def read_cameras(path: Path) -> dict[CameraKey, Camera]:
    """Read `cameras_3dhp.json`, if it exists; it is no part of the official files.

    Args:
        path: JSON: {"S1": {"0": camera, ...}, ..., "TS1": camera, ...}; a camera has
            `image_size`, `focal_px`, `centre_px`, two numbers each.

    Returns:
        Cameras by subject and name; empty without the file.

    Raises:
        DataError: The file cannot be read or is malformed.
    """
    if not os.path.lexists(path):
        return {}
    check_file(path, path.parent)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"{path}: {path.stat().st_size} bytes, expected a list of cameras")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); mend or remove it") from error
    cameras: dict[CameraKey, Camera] = {}
    for subject, entry in require_mapping(content, str(path), CAMERAS).items():
        if subject in TEST_SUBJECTS:
            cameras[subject, TEST_VIEW] = _camera(entry, f"{path}: {subject}")
            continue
        where = f"{path}: {subject}"
        for name, camera in require_mapping(entry, where, CAMERAS).items():
            cameras[subject, name] = _camera(camera, f"{where}, camera {name}")
    return cameras


def _camera(value: object, where: str) -> Camera:
    fields = require_mapping(value, where, "a JSON object of a camera")
    width, height = _pair(fields, "image_size", where)
    return Camera(
        width=round(width),
        height=round(height),
        focal=_pair(fields, "focal_px", where),
        center=_pair(fields, "centre_px", where),
    )


def _pair(fields: Mapping[str, Any], name: str, where: str) -> tuple[float, float]:
    value: Any = fields.get(name)
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_pixels, value)):
        raise DataError(f"{where}: {name}={value!r}, expected two positive numbers, pixels")
    return float(value[0]), float(value[1])


def _is_pixels(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 1 <= value < MAX_PIXELS  # NaN is not
