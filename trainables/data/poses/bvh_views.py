"""Virtual cameras around a motion whose 3D alone was recorded."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainables.data.cameras import Float64Array
from trainables.data.dataset import Camera
from trainables.data.poses.bvh_map import BvhMap, VirtualCamera
from trainables.data.sample.scene import AIM_M, IMAGE_MARGIN_PX, VIEWS, View
from trainables.errors import DataError

__all__ = ["observe_in_ring", "views_of_map"]

STEP = 1.1
MAX_STEPS = 40
NEAREST_M = 0.1


def views_of_map(mapping: BvhMap) -> tuple[View, ...]:
    """The cameras that a map gives; empty if it gives none."""
    return tuple(_look_at(name, given) for name, given in (mapping.cameras or {}).items())


def _look_at(name: str, given: VirtualCamera) -> View:
    """An upright camera at a place that looks at a point."""
    position, aim = np.asarray(given.position_m), np.asarray(given.look_at_m)
    forward = aim - position
    right = np.asarray([forward[1], -forward[0], 0.0])  # forward x up
    if float(np.linalg.norm(right)) < 1e-6:
        raise DataError(
            f"camera {name!r} looks straight up or down, or at its own place; move look_at_m"
        )
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
    center = given.center or (given.width / 2, given.height / 2)
    return View(name, Camera(given.width, given.height, given.focal, center), rotation, position)


def observe_in_ring(
    points_m: Float64Array, path: Path, *, seed: int
) -> list[tuple[View, Float64Array, Float64Array]]:
    """See a motion with the four cameras of the bundled data set, from as far as it takes.

    The motion gets a heading, drawn from `seed` and the file's name; its middle comes to the
    middle of the room and its lowest joint onto the floor. All four cameras move back along
    their lines of sight, by a tenth at a time, until every joint is 10 px inside every image.

    Args:
        points_m: Joints, z up, metres, (T, J, 3).
        path: The file, for the draw and for messages.
        seed: Of the draw.

    Returns:
        For each camera: the camera, camera-frame joints, metres, and pixels.

    Raises:
        DataError: The motion is too wide.
    """
    draw = np.random.default_rng([seed, zlib.crc32(path.stem.encode())])
    turn = 2 * math.pi * float(draw.random())
    x = math.cos(turn) * points_m[..., 0] - math.sin(turn) * points_m[..., 1]
    y = math.sin(turn) * points_m[..., 0] + math.cos(turn) * points_m[..., 1]
    z = points_m[..., 2]
    middle = [(float(v.min()) + float(v.max())) / 2 for v in (x, y)]
    placed = np.stack([x - middle[0], y - middle[1], z - float(z.min())], axis=-1)
    for step in range(MAX_STEPS + 1):
        views = [_further(view, STEP**step) for view in VIEWS]
        seen = [(view, *view.observe(placed)) for view in views]
        if all(_inside(view, points, pixels) for view, points, pixels in seen):
            return seen
    raise DataError(
        f"{path}: a motion {np.ptp(x):.1f} m by {np.ptp(y):.1f} m fits no image; check "
        "metres_per_unit in the map, or give cameras"
    )


def _further(view: View, factor: float) -> View:
    aim = np.asarray(AIM_M)
    return replace(view, position_m=aim + factor * (view.position_m - aim))


def _inside(view: View, points_m: Float64Array, pixels: Float64Array) -> bool:
    upper = np.asarray(view.camera.size) - IMAGE_MARGIN_PX
    in_front = bool((points_m[..., 2] > NEAREST_M).all())
    return in_front and bool((pixels > IMAGE_MARGIN_PX).all() and (pixels < upper).all())
