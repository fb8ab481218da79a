"""Metrics against independent references, hand-computed cases, and invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from trainables.errors import ShapeError
from trainables.metrics import (
    PoseMetrics,
    bsle,
    lle,
    lse,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    procrustes_align,
)
from trainables.skeletons import H36M_17

Array = NDArray[np.float64]
SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


def random_poses(seed: int, count: int = 6) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(count, 17, 3))
    return target + 0.5 * rng.normal(size=target.shape), target


def to_tensor(array: Array) -> Tensor:
    return torch.tensor(array, dtype=torch.float64)


def reference_p_mpjpe(pred: Array, target: Array) -> float:
    """Best rotation by scipy, best scale by least squares, one pose."""
    goal = target - target.mean(axis=0)
    source = pred - pred.mean(axis=0)
    rotation, _ = Rotation.align_vectors(goal, source)
    turned = rotation.apply(source)
    scale = (turned * goal).sum() / (turned**2).sum()
    return float(np.linalg.norm(scale * turned - goal, axis=1).mean())


def test_mpjpe_equals_numpy_and_a_hand_case() -> None:
    pred, target = random_poses(0)
    expected = np.linalg.norm(pred - target, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(mpjpe(to_tensor(pred), to_tensor(target)), expected, rtol=1e-12)
    target_3 = torch.zeros(1, 2, 3)
    pred_3 = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
    assert mpjpe(pred_3, target_3).item() == 3.0


@pytest.mark.parametrize("seed", range(5))
def test_p_mpjpe_equals_scipy(seed: int) -> None:
    pred, target = random_poses(seed, count=20)
    expected = [reference_p_mpjpe(p, t) for p, t in zip(pred, target, strict=True)]
    result = p_mpjpe(to_tensor(pred), to_tensor(target))
    np.testing.assert_allclose(result, expected, rtol=1e-9)


def test_p_mpjpe_of_mirrored_poses_equals_scipy_and_is_not_zero() -> None:
    _, target = random_poses(3, count=20)
    mirrored = target * np.array([-1.0, 1.0, 1.0])
    expected = [reference_p_mpjpe(p, t) for p, t in zip(mirrored, target, strict=True)]
    result = p_mpjpe(to_tensor(mirrored), to_tensor(target))
    np.testing.assert_allclose(result, expected, rtol=1e-9)
    assert result.min() > 0.1


def test_n_mpjpe_equals_a_scan_over_scales() -> None:
    pred, target = random_poses(1, count=3)
    for p, t in zip(pred, target, strict=True):
        scale = np.linalg.lstsq(p.reshape(-1, 1), t.reshape(-1), rcond=None)[0]
        expected = np.linalg.norm(scale * p - t, axis=1).mean()
        assert n_mpjpe(to_tensor(p), to_tensor(t)).item() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.05, 20.0), shift=st.floats(-5.0, 5.0))
def test_p_mpjpe_ignores_similarity_transforms_of_the_prediction(
    seed: int, scale: float, shift: float
) -> None:
    pred, target = random_poses(seed)
    turned = scale * pred @ Rotation.random(random_state=seed % 1000).as_matrix().T + shift
    expected = p_mpjpe(to_tensor(pred), to_tensor(target))
    torch.testing.assert_close(
        p_mpjpe(to_tensor(turned), to_tensor(target)), expected, rtol=1e-8, atol=1e-10
    )
    exact = p_mpjpe(to_tensor(scale * target + shift), to_tensor(target))
    assert exact.max() < 1e-8


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.05, 20.0))
def test_n_mpjpe_ignores_scale_only(seed: int, scale: float) -> None:
    pred, target = (to_tensor(array) for array in random_poses(seed))
    expected = n_mpjpe(pred, target)
    torch.testing.assert_close(n_mpjpe(scale * pred, target), expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(n_mpjpe(pred + 1.0, target), expected)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_aligned_squared_distance_is_never_larger(seed: int) -> None:
    pred, target = (to_tensor(array) for array in random_poses(seed))
    aligned = procrustes_align(pred, target)
    raw = (pred - target).square().sum(dim=(1, 2))
    assert ((aligned - target).square().sum(dim=(1, 2)) <= raw + 1e-9).all()


def test_p_mpjpe_of_degenerate_poses() -> None:
    _, target = (to_tensor(array) for array in random_poses(2, count=1))
    centred = target - target.mean(dim=-2, keepdim=True)
    point = torch.full_like(target, 7.0)  # nothing to turn or scale: only moved
    expected = torch.linalg.vector_norm(centred, dim=-1).mean()
    assert p_mpjpe(point, target).item() == pytest.approx(expected.item())
    assert p_mpjpe(point, point).item() == 0.0
    assert p_mpjpe(target, point).item() == pytest.approx(0.0, abs=1e-12)
    line = torch.zeros_like(target)
    line[..., 0] = torch.arange(17)
    tilted = line.flip(-1) * 3.0
    assert p_mpjpe(line, tilted).item() == pytest.approx(0.0, abs=1e-9)


def test_a_non_finite_pose_is_nan_and_leaves_the_others_alone() -> None:
    pred, target = (to_tensor(array) for array in random_poses(4))
    expected = p_mpjpe(pred, target)
    pred[2, 0, 0] = torch.nan
    result = p_mpjpe(pred, target)
    assert result[2].isnan()
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(result[kept], expected[kept], rtol=0, atol=0)


def straight_pose() -> Tensor:
    """A pose whose segments all have length 1: joint = parent + unit vector."""
    joints = torch.zeros(1, 17, 3, dtype=torch.float64)
    for parent, child in H36M_17.segments:
        joints[:, child] = joints[:, parent]
        joints[:, child, child % 3] += 1.0
    return joints


def move(pose: Tensor, joint: int, length: float) -> Tensor:
    """Put a leaf joint at a distance from its parent."""
    moved = pose.clone()
    parent = H36M_17.parents[joint]
    moved[:, joint] = pose[:, parent] + length * (pose[:, joint] - pose[:, parent])
    return moved


def test_length_errors_by_hand() -> None:
    target = straight_pose()
    pred = move(move(target, 13, 0.75), 10, 1.5)  # left forearm, head
    symmetry = lse(pred, H36M_17)
    assert symmetry.valid.all()
    # upper arm, forearm, thigh, shin
    assert symmetry.percent[0].tolist() == pytest.approx([0, 100 * 0.25 / 0.875, 0, 0])
    limbs = lle(pred, target, H36M_17).percent[0]
    assert limbs.shape == (8,)
    assert limbs[H36M_17.limbs.index((12, 13))].item() == pytest.approx(25.0)
    assert limbs.sum().item() == pytest.approx(25.0)
    segments = bsle(pred, target, H36M_17).percent[0]
    assert segments.shape == (16,)
    assert segments[H36M_17.segments.index((9, 10))].item() == pytest.approx(50.0)
    assert segments.sum().item() == pytest.approx(75.0)


def test_length_errors_equal_numpy() -> None:
    pred, target = random_poses(5)
    parents = np.array(H36M_17.parents[1:])
    true_lengths = np.linalg.norm(target[:, 1:] - target[:, parents], axis=-1)
    lengths = np.linalg.norm(pred[:, 1:] - pred[:, parents], axis=-1)
    expected = 100 * np.abs(1 - lengths / true_lengths)
    result = bsle(to_tensor(pred), to_tensor(target), H36M_17)
    np.testing.assert_allclose(result.percent, expected, rtol=1e-12)
    limbs = [c - 1 for c in (12, 15, 13, 16, 5, 2, 6, 3)]  # by child, left and right in turn
    result = lle(to_tensor(pred), to_tensor(target), H36M_17)
    np.testing.assert_allclose(result.percent, expected[:, limbs], rtol=1e-12)
    left, right = lengths[:, [11, 12, 4, 5]], lengths[:, [14, 15, 1, 2]]
    expected = 100 * np.abs((left - right) / ((left + right) / 2))
    np.testing.assert_allclose(lse(to_tensor(pred), H36M_17).percent, expected, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.1, 10.0))
def test_length_errors_ignore_rigid_motion_and_lse_ignores_scale(seed: int, scale: float) -> None:
    pred, target = random_poses(seed)
    moved = pred @ Rotation.random(random_state=seed % 1000).as_matrix().T + 2.0
    expected = bsle(to_tensor(pred), to_tensor(target), H36M_17).percent
    result = bsle(to_tensor(moved), to_tensor(target), H36M_17).percent
    torch.testing.assert_close(result, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(
        lse(to_tensor(scale * moved), H36M_17).percent,
        lse(to_tensor(pred), H36M_17).percent,
        rtol=1e-8,
        atol=1e-8,
    )


def test_segments_without_length_are_left_out_and_counted() -> None:
    target = move(straight_pose(), 13, 0.0)
    pred = straight_pose()
    limbs = lle(pred, target, H36M_17)
    assert limbs.valid.sum().item() == 7
    assert limbs.percent.isfinite().all()
    metrics = accumulate(torch.cat([pred, pred]), torch.cat([target, straight_pose()]))
    assert metrics["segments_left_out"] == 1.0
    assert metrics["bsle"] == metrics["lle"] == metrics["lse"] == pytest.approx(0.0)


def accumulate(pred: Tensor, target: Tensor, *, batch: int = 100) -> dict[str, float]:
    metrics = PoseMetrics(H36M_17, num_actions=3, device=torch.device("cpu"))
    for start in range(0, len(pred), batch):
        part = slice(start, start + batch)
        action = torch.arange(len(pred))[part].clamp(max=1)  # first pose alone, then the rest
        metrics.update(pred[part], target[part], action)
    return metrics.compute()


def test_accumulated_averages_equal_numpy_whatever_the_batches() -> None:
    pred, target = random_poses(6, count=11)
    whole = accumulate(to_tensor(pred), to_tensor(target))
    parts = accumulate(to_tensor(pred), to_tensor(target), batch=4)
    assert parts == pytest.approx(whole, rel=1e-12)
    errors_mm = 1000 * np.linalg.norm(pred - target, axis=-1).mean(axis=-1)
    assert whole["mpjpe_mm"] == pytest.approx(errors_mm.mean(), rel=1e-12)
    # the third action has no poses and does not count
    by_action = (errors_mm[0] + errors_mm[1:].mean()) / 2
    assert whole["action_mpjpe_mm"] == pytest.approx(by_action, rel=1e-12)
    aligned = [reference_p_mpjpe(p, t) for p, t in zip(pred, target, strict=True)]
    assert whole["p_mpjpe_mm"] == pytest.approx(1000 * np.mean(aligned), rel=1e-9)
    assert whole["lse"] == pytest.approx(lse(to_tensor(pred), H36M_17).percent.mean().item())
    assert whole["poses"] == 11.0


@pytest.mark.parametrize("metric", [mpjpe, n_mpjpe, p_mpjpe])
def test_shapes_that_differ_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ShapeError, match=r"\(2, 17, 3\) and \(2, 16, 3\)"):
        metric(torch.zeros(2, 17, 3), torch.zeros(2, 16, 3))
