"""The simulated room of `sample`: four cameras, and where a motion takes place in it.

World axes of the room: z up, floor near z = 0, origin where the cameras look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trainables.data.cameras import Float64Array, project, world_to_camera
from trainables.data.dataset import Camera
from trainables.errors import DataError
from trainables.skeletons import Skeleton

__all__ = ["VIEWS", "View", "mirror", "place_in_room"]

AIM_M = (0.0, 0.0, 0.95)
PLACE_RADIUS_M = 0.8
IMAGE_MARGIN_PX = 10.0
MAX_HALVINGS = 6


@dataclass(frozen=True)
class View:
    """A camera in the room.

    Attributes:
        name: Its name.
        camera: Its intrinsics.
        rotation: Its axes (right, down, forward) as columns, (3, 3).
        position_m: Its place, metres, (3,).
    """

    name: str
    camera: Camera
    rotation: Float64Array
    position_m: Float64Array

    def observe(self, points_m: Float64Array) -> tuple[Float64Array, Float64Array]:
        """World points (..., 3) to camera-frame points, metres, and pixels (..., 2)."""
        seen_m = world_to_camera(points_m, self.rotation, self.position_m)
        return seen_m, project(seen_m, self.camera)


def _view(
    name: str, azimuth_deg: float, distance_m: float, height_m: float, camera: Camera
) -> View:
    """A camera at an azimuth and horizontal distance that looks at `AIM_M`, upright."""
    azimuth = math.radians(azimuth_deg)
    position = np.asarray(
        [distance_m * math.cos(azimuth), distance_m * math.sin(azimuth), height_m]
    )
    forward = np.asarray(AIM_M) - position
    forward = forward / math.sqrt(float(np.sum(forward * forward)))
    right = np.asarray([forward[1], -forward[0], 0.0])  # forward x up
    right = right / math.sqrt(float(np.sum(right * right)))
    down = np.cross(forward, right)
    return View(name, camera, np.stack([right, down, forward], axis=1), position)


VIEWS: tuple[View, ...] = (
    _view("front_left", 70, 5.3, 1.55, Camera(1000, 1002, (1145.0, 1144.0), (512.5, 515.5))),
    _view("front_right", -70, 5.4, 1.60, Camera(1000, 1000, (1150.0, 1148.0), (509.0, 508.0))),
    _view("back_left", 112, 5.5, 1.50, Camera(1000, 1000, (1149.0, 1149.0), (519.5, 501.5))),
    _view("back_right", -115, 5.2, 1.58, Camera(1000, 1002, (1145.5, 1145.0), (515.0, 502.0))),
)
"""Four cameras in the corners of the room, much like Human3.6M's, without lens distortion."""


def mirror(points_m: Float64Array, skeleton: Skeleton) -> Float64Array:
    """The mirror image of a motion in the clips' axes: z negated, left and right exchanged."""
    return np.asarray(points_m[:, skeleton.mirrored] * np.asarray([1.0, 1.0, -1.0]))


def place_in_room(points_m: Float64Array, generator: np.random.Generator) -> Float64Array:
    """Give a motion a heading and a place in the room, so that every camera sees all of it.

    The heading is uniform; the middle of the motion is drawn from a disc about the room's
    centre, and moved halfway towards the centre as often as it takes to fit every image.

    Args:
        points_m: Joints in the clips' axes (x forward, y up, z right), metres, (T, J, 3).
        generator: Source of the draws; exactly three are taken.

    Returns:
        World joints, z up, metres, (T, J, 3).

    Raises:
        DataError: The motion is too wide for the images.
    """
    heading, radius, direction = (float(generator.random()) for _ in range(3))
    turn, aside = 2 * math.pi * heading, 2 * math.pi * direction
    forward, left, up = points_m[..., 0], -points_m[..., 2], points_m[..., 1]
    x = math.cos(turn) * forward - math.sin(turn) * left
    y = math.sin(turn) * forward + math.cos(turn) * left
    world = np.stack([x - _middle(x), y - _middle(y), up], axis=-1)
    reach_m = PLACE_RADIUS_M * math.sqrt(radius)
    for halvings in range(MAX_HALVINGS + 1):
        factor = 0.0 if halvings == MAX_HALVINGS else reach_m * 0.5**halvings
        offset = np.asarray([math.cos(aside), math.sin(aside), 0.0]) * factor
        placed: Float64Array = world + offset
        if all(_inside(view.observe(placed)[1], view.camera) for view in VIEWS):
            return placed
    raise DataError(
        f"a motion {np.ptp(x):.1f} m by {np.ptp(y):.1f} m does not fit the simulated images; "
        "this is a fault of the bundled clips, please report it"
    )


def _middle(values: Float64Array) -> float:
    return (float(values.min()) + float(values.max())) / 2


def _inside(pixels: Float64Array, camera: Camera) -> bool:
    upper = np.asarray([camera.width, camera.height]) - IMAGE_MARGIN_PX
    return bool((pixels > IMAGE_MARGIN_PX).all() and (pixels < upper).all())
