"""Camera geometry on arrays: world to camera, projection, screen normalisation.

Camera frame: x right, y down, z forward, metres. Pixels: x right, y down, origin at the upper
left corner of the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import Camera
from trainables.errors import ShapeError

__all__ = [
    "Float64Array",
    "normalize_screen",
    "pixels_from_screen",
    "project",
    "rotation_matrix",
    "world_to_camera",
]

Float64Array = NDArray[np.float64]


def rotation_matrix(quaternion: NDArray[Any]) -> Float64Array:
    """Rotation matrices of quaternions.

    Args:
        quaternion: (w, x, y, z), any positive norm, (..., 4).

    Returns:
        R with R @ v the rotated v, (..., 3, 3).
    """
    unit = np.asarray(quaternion, np.float64)
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    w, x, y, z = np.moveaxis(unit, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def world_to_camera(
    points_m: NDArray[Any], rotation: Float64Array, position_m: Float64Array
) -> Float64Array:
    """Transform world points into a camera's frame.

    Args:
        points_m: World points, metres, (..., 3).
        rotation: The camera's orientation in the world, its axes as columns, (3, 3).
        position_m: The camera's place in the world, metres, (3,).

    Returns:
        R^T (X - t), metres, (..., 3).
    """
    # einsum without BLAS: the same bits whatever the thread count
    return np.asarray(np.einsum("...i,ij->...j", points_m - position_m, rotation))


def project(points_m: NDArray[Any], camera: Camera) -> Float64Array:
    """Project camera-frame points to pixels, lens distortion included.

    The model is Human3.6M's: with u = xy / z and r = |u|, pixels are
    f (u (1 + k1 r^2 + k2 r^4 + k3 r^6 + p . u) + p r^2) + c.

    Args:
        points_m: Points in the camera frame, z > 0, (..., 3).
        camera: Intrinsics.

    Returns:
        Pixels, (..., 2).

    Raises:
        ShapeError: If the points are not 3D.
    """
    points = np.asarray(points_m, np.float64)
    if points.shape[-1] != 3:
        raise ShapeError(f"project needs points (..., 3), got {points.shape}")
    flat = points[..., :2] / points[..., 2:]
    r2 = np.sum(flat * flat, axis=-1, keepdims=True)
    k1, k2, k3 = camera.radial
    tangential = np.asarray(camera.tangential)
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    tilt = np.sum(tangential * flat, axis=-1, keepdims=True)
    distorted = flat * (radial + tilt) + tangential * r2
    return np.asarray(distorted * np.asarray(camera.focal) + np.asarray(camera.center))


def normalize_screen(pixels: NDArray[Any], size: tuple[int, int]) -> Float64Array:
    """Pixels to normalised screen coordinates: 2x/w - 1, 2y/w - h/w (both by the width).

    Args:
        pixels: Origin at the upper left corner, (..., 2).
        size: Width and height of the image, pixels.
    """
    width, height = size
    offset = np.asarray([1.0, height / width])
    return np.asarray(np.asarray(pixels, np.float64) * (2.0 / width) - offset)


def pixels_from_screen(screen: NDArray[Any], size: tuple[int, int]) -> Float64Array:
    """Inverse of `normalize_screen`."""
    width, height = size
    offset = np.asarray([1.0, height / width])
    return np.asarray((np.asarray(screen, np.float64) + offset) * (width / 2.0))
