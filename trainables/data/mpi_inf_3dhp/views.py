"""A sequence of MPI-INF-3DHP as one camera sees it, checked; shared by both file forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.arrays import common_length, require_finite, sequence_array
from trainables.errors import DataError
from trainables.skeletons import MPI_INF_3DHP_17

__all__ = ["View", "checked_valid", "checked_view"]

ROOT = MPI_INF_3DHP_17.root
MIN_BODY_MM = 20.0
"""Median distance of the joints from the pelvis; people have some 500 mm, in metres 0.5."""


@dataclass(frozen=True)
class View:
    """One sequence seen by one camera.

    Attributes:
        points_mm: Joints in the camera frame, millimetres, (T, 17, 3).
        pixels: 2D key points, pixels, (T, 17, 2).
        valid: Whether a frame is scored, (T,); None where all are.
    """

    points_mm: NDArray[Any]
    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None = None


def checked_valid(value: object, name: str) -> NDArray[np.bool_]:
    """The flags of the frames that are scored.

    Args:
        value: Numbers 0 and 1 of any type, (T,), (T, 1) or (1, T).
        name: File and sequence, for messages.

    Returns:
        Flags, (T,).

    Raises:
        DataError: It is anything else, or no frame is valid.
    """
    kind = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value)
    problem = DataError(f"{name} is {kind}, expected one flag 0 or 1 for each frame, (T,)")
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise problem
    if value.ndim not in (1, 2) or value.size != max(value.shape):
        raise problem
    flags = value.reshape(-1)
    if not np.isin(flags, (0, 1)).all():
        raise DataError(f"{name} holds other values than 0 and 1; is it another array?")
    if not flags.any():
        raise DataError(f"{name} flags no frame, expected 1 for every frame that is scored")
    return np.asarray(flags == 1)


def checked_view(
    points_mm: object,
    pixels: object,
    name: str,
    notes: list[str],
    valid: NDArray[np.bool_] | None = None,
) -> View:
    """Check and join what a file has of one view.

    Args:
        points_mm: 3D, (T, 17, 3), millimetres.
        pixels: 2D, (T', 17, 2), T' within two frames of T; a confidence is dropped.
        name: File, sequence and camera, for messages.
        notes: Takes what was done.
        valid: Whether a frame is scored, (T,); None where all are.

    Returns:
        The view; where frames that are not scored hold no pose, their nearest scored neighbour
        stands.

    Raises:
        DataError: Shapes, types, lengths, units or the camera frame are wrong.
    """
    joints = MPI_INF_3DHP_17.num_joints
    points = sequence_array(points_mm, f"{name}: 3D", (joints, 3))
    seen = sequence_array(pixels, f"{name}: 2D", (joints, 2))
    if valid is not None and len(valid) != len(points):
        raise DataError(
            f"{name}: {len(valid)} flags of valid frames for {len(points)} frames of 3D, "
            "expected the same number"
        )
    view = _trimmed(View(points, seen, valid), name, notes)
    require_finite(view.points_mm, f"{name}: 3D", needed=view.valid)
    require_finite(view.pixels, f"{name}: 2D", needed=view.valid)
    _check_camera_frame(view, name)
    return _without_gaps(view, name, notes)


def _trimmed(view: View, name: str, notes: list[str]) -> View:
    """As many frames as 2D and 3D both have, if they differ as little as known copies do."""
    length = common_length(len(view.points_mm), [len(view.pixels)], name, notes)
    valid = None if view.valid is None else view.valid[:length]
    return View(view.points_mm[:length], view.pixels[:length], valid)


def _check_camera_frame(view: View, name: str) -> None:
    """Millimetres in the camera's frame, neither metres nor relative to the pelvis."""
    points = view.points_mm if view.valid is None else view.points_mm[view.valid]
    root = points[:, ROOT]
    behind = np.count_nonzero(root[:, 2] <= 0)
    if behind:
        raise DataError(
            f"{name}: the pelvis (joint {ROOT}) is not in front of the camera in {behind} of "
            f"{len(points)} frames; expected camera coordinates, z forward, that are not relative "
            "to the pelvis"
        )
    body_mm = float(np.median(np.linalg.norm(points - root[:, None], axis=-1)))
    if body_mm < MIN_BODY_MM:
        raise DataError(
            f"{name}: the joints are {body_mm:.3g} mm from the pelvis in the median, expected "
            "several hundred; are the 3D in metres? Write them in millimetres"
        )


def _without_gaps(view: View, name: str, notes: list[str]) -> View:
    """Give frames that are not scored and hold no pose that of their nearest scored frame.

    They are the context of scored frames in clips, so that the 2D must be something; the 3D is
    never compared with anything.
    """
    if view.valid is None:
        return view
    usable = (
        np.isfinite(view.points_mm).all(axis=(1, 2))
        & np.isfinite(view.pixels).all(axis=(1, 2))
        & (view.points_mm[:, ROOT, 2] > 0)
    )
    empty = np.flatnonzero(~usable)
    if len(empty) == 0:
        return view
    scored = np.flatnonzero(view.valid)
    after = np.clip(np.searchsorted(scored, empty), 0, len(scored) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.abs(scored[before] - empty) <= np.abs(scored[after] - empty)
    source = np.arange(len(usable))
    source[empty] = np.where(closer, scored[before], scored[after])
    notes.append(
        f"{name}: {len(empty)} frames that are not valid hold no pose; that of the nearest valid "
        "frame stands there, and is not scored"
    )
    return View(view.points_mm[source], view.pixels[source], view.valid)
