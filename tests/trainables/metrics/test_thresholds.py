"""PCK and AUC against a literal transcription of the official loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainables.metrics.references import Array, random_poses, to_tensor
from trainables.errors import ShapeError
from trainables.metrics import auc, pck

JOINTS = range(14)
"""The official evaluation leaves out pelvis, spine and head (14, 15, 16)."""


def official_pck(pred_mm: Array, target_mm: Array, threshold_mm: float) -> float:
    near = 0
    for pred, target in zip(pred_mm, target_mm, strict=True):
        for joint in range(14):
            error = np.sqrt(((pred[joint] - target[joint]) ** 2).sum())
            if error < threshold_mm:
                near += 1
    return 100.0 * near / (14 * len(pred_mm))


def official_auc(pred_mm: Array, target_mm: Array, thresholds_mm: range) -> float:
    return float(np.mean([official_pck(pred_mm, target_mm, float(t)) for t in thresholds_mm]))


@pytest.mark.parametrize("noise", [0.05, 0.2, 1.0])
def test_equal_the_official_loop(noise: float) -> None:
    pred, target = random_poses(0, count=30)
    target_mm, pred_mm = 500 * target, 500 * (target + noise * (pred - target))
    tensors = to_tensor(pred_mm), to_tensor(target_mm)
    result = pck(*tensors, joints=JOINTS)
    assert result.shape == (30,)
    assert result.mean().item() == pytest.approx(official_pck(pred_mm, target_mm, 150.0))
    expected = official_auc(pred_mm, target_mm, range(0, 151, 5))
    assert auc(*tensors, joints=JOINTS).mean().item() == pytest.approx(expected)
    expected_30 = official_auc(pred_mm, target_mm, range(5, 151, 5))
    result_30 = auc(*tensors, joints=JOINTS, with_zero=False).mean().item()
    assert result_30 == pytest.approx(expected_30)
    assert result_30 == pytest.approx(expected * 31 / 30)


def test_a_joint_at_the_threshold_is_not_near() -> None:
    target = torch.zeros(3, 2, 3, dtype=torch.float64)
    pred = target.clone()
    pred[:, 0, 0] = torch.tensor([150.0, np.nextafter(150.0, 0.0), 151.0])
    assert pck(pred, target, joints=[0, 1]).tolist() == [50.0, 100.0, 50.0]
    assert pck(pred, target, joints=[0], threshold_mm=150.5).tolist() == [100.0, 100.0, 0.0]
    # each threshold of the grid, from the joint that lies on it: those above it count
    on_grid = torch.zeros(31, 1, 3, dtype=torch.float64)
    on_grid[:, 0, 2] = 5.0 * torch.arange(31)
    expected = [100.0 * (30 - step) / 31 for step in range(31)]
    result = auc(on_grid, torch.zeros_like(on_grid), joints=[0])
    assert result.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_perfect_prediction_gets_30_of_31() -> None:
    _, target = (to_tensor(array) for array in random_poses(1))
    assert auc(target, target, joints=JOINTS).tolist() == pytest.approx([3000 / 31] * 6)
    assert auc(target, target, joints=JOINTS, with_zero=False).tolist() == [100.0] * 6
    assert pck(target, target, joints=JOINTS).tolist() == [100.0] * 6


def test_joints_that_do_not_count_change_nothing() -> None:
    pred, target = (150 * to_tensor(array) for array in random_poses(2))
    far = pred.clone()
    far[:, 14:] += 1e6
    for metric in (pck, auc):
        assert torch.equal(metric(far, target, joints=JOINTS), metric(pred, target, joints=JOINTS))


def test_nan_is_not_taken_for_a_miss_and_infinity_is_one() -> None:
    _, target = (to_tensor(array) for array in random_poses(3, count=2))
    pred = target.clone()
    pred[0, 3, 1], pred[1, 3, 1] = torch.nan, torch.inf
    for metric in (pck, auc):
        assert metric(pred, target, joints=JOINTS)[0].isnan()
    assert pck(pred, target, joints=JOINTS)[1].item() == pytest.approx(100 * 13 / 14)


@pytest.mark.parametrize("metric", [pck, auc])
def test_shapes_that_differ_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ShapeError, match=r"\(2, 17, 3\) and \(2, 16, 3\)"):
        metric(torch.zeros(2, 17, 3), torch.zeros(2, 16, 3), joints=JOINTS)
