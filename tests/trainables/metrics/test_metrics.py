"""Metrics against independent references, hand-computed cases, and invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from tests.trainables.metrics.references import random_poses, to_tensor
from trainables.errors import ShapeError
from trainables.metrics import (
    bsle,
    lle,
    lse,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
)
from trainables.skeletons import H36M_17

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


def test_mpjpe_equals_numpy_and_a_hand_case() -> None:
    pred, target = random_poses(0)
    expected = np.linalg.norm(pred - target, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(mpjpe(to_tensor(pred), to_tensor(target)), expected, rtol=1e-12)
    target_3 = torch.zeros(1, 2, 3)
    pred_3 = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
    assert mpjpe(pred_3, target_3).item() == 3.0


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


def test_segments_without_length_are_left_out() -> None:
    target = move(straight_pose(), 13, 0.0)
    pred = straight_pose()
    limbs = lle(pred, target, H36M_17)
    assert limbs.valid.sum().item() == 7
    assert limbs.percent.isfinite().all()


def test_mpjve_equals_numpys_differences() -> None:
    pred, target = random_poses(7, count=9)
    expected = np.linalg.norm(np.diff(pred, axis=0) - np.diff(target, axis=0), axis=-1).mean(-1)
    np.testing.assert_allclose(mpjve(to_tensor(pred), to_tensor(target)), expected, rtol=1e-12)
    clips = to_tensor(pred).view(3, 3, 17, 3), to_tensor(target).view(3, 3, 17, 3)
    np.testing.assert_allclose(mpjve(*clips).flatten(), expected[[0, 1, 3, 4, 6, 7]], rtol=1e-12)
    # an error that stays is no error of velocity
    assert mpjve(to_tensor(target + 1.0), to_tensor(target)).max() < 1e-12


@pytest.mark.parametrize("metric", [mpjpe, n_mpjpe, p_mpjpe, mpjve])
def test_shapes_that_differ_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ShapeError, match=r"\(2, 17, 3\) and \(2, 16, 3\)"):
        metric(torch.zeros(2, 17, 3), torch.zeros(2, 16, 3))
