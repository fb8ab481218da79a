"""Alignment against SciPy and a decomposition by hand, on ordinary and degenerate poses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.trainables.metrics import references
from tests.trainables.metrics.references import Array, random_poses, to_tensor
from trainables.metrics import mpjpe, p_mpjpe, procrustes_align, scale_align

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)
MIRROR = np.array([-1.0, 1.0, 1.0])


def by_orthogonal_procrustes(pred: Array, target: Array) -> tuple[float, bool]:
    """P-MPJPE if reflections were allowed, and whether the best map is one; one pose."""
    goal, source = target - target.mean(axis=0), pred - pred.mean(axis=0)
    matrix, trace = scipy.linalg.orthogonal_procrustes(source, goal)
    aligned = trace / (source**2).sum() * source @ matrix
    return float(np.linalg.norm(aligned - goal, axis=1).mean()), bool(np.linalg.det(matrix) < 0)


def test_equals_scipys_orthogonal_procrustes_where_that_is_a_rotation() -> None:
    pred, target = random_poses(0, count=40)
    result = p_mpjpe(to_tensor(pred), to_tensor(target)).numpy()
    scipy_results = [by_orthogonal_procrustes(p, t) for p, t in zip(pred, target, strict=True)]
    rotations = [not reflected for _, reflected in scipy_results]
    assert sum(rotations) > 20
    expected = np.array([error for error, _ in scipy_results])
    np.testing.assert_allclose(result[rotations], expected[rotations], rtol=1e-9)


def test_squared_distance_equals_scipys_disparity() -> None:
    pred, target = random_poses(1, count=20)
    aligned = procrustes_align(to_tensor(pred), to_tensor(target)).numpy()
    for p, t, a in zip(pred, target, aligned, strict=True):
        *_, disparity = scipy.spatial.procrustes(t, p)
        relative = ((a - t) ** 2).sum() / ((t - t.mean(axis=0)) ** 2).sum()
        if by_orthogonal_procrustes(p, t)[1]:
            assert relative > disparity  # SciPy turns the pose inside out
        else:
            assert relative == pytest.approx(disparity, rel=1e-9)


def line(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(5, 17, 1)) * rng.normal(size=(5, 1, 3)))


def plane(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(5, 17, 2)) @ rng.normal(size=(5, 2, 3)))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: random_poses(2, count=30), id="random"),
        pytest.param(lambda: (MIRROR * random_poses(3, 9)[1], random_poses(3, 9)[1]), id="mirror"),
        pytest.param(lambda: (1e-3 * random_poses(4)[0], random_poses(4)[1]), id="tiny"),
        pytest.param(lambda: (1e3 * random_poses(4)[0], random_poses(4)[1]), id="huge"),
        pytest.param(lambda: (line(5), random_poses(5, 5)[1]), id="line onto body"),
        pytest.param(lambda: (random_poses(6, 5)[0], line(6)), id="body onto line"),
        pytest.param(lambda: (line(7), line(8)), id="line onto line"),
        pytest.param(lambda: (plane(9), plane(10)), id="plane onto plane"),
    ],
)
def test_equals_a_decomposition_by_hand(make: Callable[[], tuple[Array, Array]]) -> None:
    pred, target = make()
    expected = [references.p_mpjpe(p, t) for p, t in zip(pred, target, strict=True)]
    np.testing.assert_allclose(p_mpjpe(to_tensor(pred), to_tensor(target)), expected, rtol=1e-9)


def test_a_mirrored_body_is_not_turned_back_but_a_flat_or_straight_one_is() -> None:
    _, body = random_poses(11, count=20)
    mirrored = p_mpjpe(to_tensor(MIRROR * body), to_tensor(body))
    assert mirrored.min() > 0.1
    # a rotation does to these what the mirror does
    for pose in (plane(12), line(12)):
        assert p_mpjpe(to_tensor(MIRROR * pose), to_tensor(pose)).max() < 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_rotation_is_one(seed: int) -> None:
    pred, target = random_poses(seed)
    aligned = procrustes_align(to_tensor(MIRROR * pred), to_tensor(target)).numpy()
    for p, a in zip(MIRROR * pred, aligned, strict=True):
        source, result = p - p.mean(axis=0), a - a.mean(axis=0)
        matrix = np.linalg.lstsq(source, result, rcond=None)[0]
        scale = np.cbrt(np.linalg.det(matrix))
        assert scale > 0  # positive scale and positive determinant
        np.testing.assert_allclose(matrix.T @ matrix, scale**2 * np.eye(3), atol=1e-8)


def test_equals_scipys_align_vectors() -> None:
    pred, target = random_poses(13, count=10)
    for p, t in zip(pred, target, strict=True):
        goal, source = t - t.mean(axis=0), p - p.mean(axis=0)
        turned = Rotation.align_vectors(goal, source)[0].apply(source)
        scale = (turned * goal).sum() / (turned**2).sum()
        expected = np.linalg.norm(scale * turned - goal, axis=1).mean()
        assert p_mpjpe(to_tensor(p), to_tensor(t)).item() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_more_freedom_never_means_more_squared_distance(seed: int) -> None:
    pred, target = (to_tensor(array) for array in random_poses(seed))

    def square(poses: torch.Tensor) -> torch.Tensor:
        return (poses - target).square().sum(dim=(1, 2))

    scaled = square(scale_align(pred, target))
    assert (scaled <= square(pred) + 1e-9).all()
    assert (square(procrustes_align(pred, target)) <= scaled + 1e-9).all()


def test_but_the_mean_distance_may_grow() -> None:
    """Least squares spreads one joint's large error over all joints."""
    _, target = (to_tensor(array) for array in random_poses(14, count=1))
    pred = target.clone()
    pred[0, 16, 0] += 2.0
    assert p_mpjpe(pred, target).item() > mpjpe(pred, target).item()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("which", ["pred", "target"])
def test_a_non_finite_pose_is_nan_and_leaves_the_others_alone(bad: float, which: str) -> None:
    pred, target = (to_tensor(array) for array in random_poses(15))
    expected = p_mpjpe(pred, target)
    {"pred": pred, "target": target}[which][2, 0, 0] = bad
    result = p_mpjpe(pred, target)
    assert result[2].isnan()
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(result[kept], expected[kept], rtol=0, atol=0)


def test_float32_is_near_float64() -> None:
    pred, target = (to_tensor(array) for array in random_poses(16, count=50))
    result = p_mpjpe(pred.float(), target.float())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), p_mpjpe(pred, target), rtol=1e-5, atol=1e-6)
