"""Projection and normalisation against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from trainables.data.cameras import (
    normalize_screen,
    pixels_from_screen,
    project,
    rotation_matrix,
    world_to_camera,
)
from trainables.data.dataset import Camera
from trainables.errors import ShapeError

CAMERA = Camera(
    width=1000,
    height=1002,
    focal=(1145.0, 1143.5),
    center=(512.5, 515.4),
    radial=(-0.2, 0.25, -0.003),
    tangential=(-0.001, -0.0014),
)
coordinates = st.floats(-2, 2)


def project_by_hand(x: float, y: float, z: float) -> tuple[float, float]:
    """Human3.6M's model, written out from its definition for one point."""
    u, v = x / z, y / z
    r = math.hypot(u, v)
    k1, k2, k3 = CAMERA.radial
    p1, p2 = CAMERA.tangential
    factor = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6 + p1 * u + p2 * v
    return (
        CAMERA.focal[0] * (u * factor + p1 * r**2) + CAMERA.center[0],
        CAMERA.focal[1] * (v * factor + p2 * r**2) + CAMERA.center[1],
    )


@given(coordinates, coordinates, st.floats(2, 8))
def test_projection_follows_the_definition(x: float, y: float, z: float) -> None:
    found = project(np.asarray([[x, y, z]]), CAMERA)
    np.testing.assert_allclose(found[0], project_by_hand(x, y, z), atol=1e-9)


def test_projection_needs_3d_points() -> None:
    with pytest.raises(ShapeError, match=r"needs points \(..., 3\), got \(4, 2\)"):
        project(np.zeros((4, 2)), CAMERA)


@given(st.floats(-500, 1500), st.floats(-500, 1500))
def test_normalisation_is_by_the_width_and_can_be_undone(x: float, y: float) -> None:
    screen = normalize_screen(np.asarray([x, y]), CAMERA.size)
    np.testing.assert_allclose(screen, [2 * x / 1000 - 1, 2 * y / 1000 - 1.002], atol=1e-12)
    np.testing.assert_allclose(pixels_from_screen(screen, CAMERA.size), [x, y], atol=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: max(map(abs, q)) > 0.1))
def test_rotation_matrices_agree_with_scipy(quaternion: list[float]) -> None:
    w, x, y, z = quaternion
    expected = Rotation.from_quat([x, y, z, w]).as_matrix()
    np.testing.assert_allclose(rotation_matrix(np.asarray(quaternion)), expected, atol=1e-12)


def test_world_to_camera_expresses_points_along_the_cameras_axes() -> None:
    # a camera at (0, -5, 1) that looks along +y: right is x, down is -z, forward is y
    axes = np.asarray([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    seen = world_to_camera(np.asarray([[0.5, 0.0, 1.8]]), axes, np.asarray([0.0, -5.0, 1.0]))
    np.testing.assert_allclose(seen, [[0.5, -0.8, 5.0]])
