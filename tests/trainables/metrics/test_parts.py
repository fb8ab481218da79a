"""Errors of parts of the body, moved to their own origins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainables.metrics.references import distances, random_poses, to_tensor
from trainables.errors import ShapeError
from trainables.metrics import mpjpe, part_mpjpe
from trainables.skeletons import BodyPart

HANDS = BodyPart("hands_wrist", (((11, 12, 13), (13,)), ((15, 16), (16,))))


def test_equals_numpy_group_by_group() -> None:
    pred, target = random_poses(0)
    expected = []
    for p, t in zip(pred, target, strict=True):
        left = distances(p[[11, 12, 13]] - p[13], t[[11, 12, 13]] - t[13])
        right = distances(p[[15, 16]] - p[16], t[[15, 16]] - t[16])
        expected.append((left.sum() + right.sum()) / 5)
    result = part_mpjpe(to_tensor(pred), to_tensor(target), HANDS)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_an_origin_of_several_joints_is_their_mean() -> None:
    pred, target = random_poses(1)
    part = BodyPart("body", ((tuple(range(17)), (1, 4)),))
    moved = [poses - poses[:, [1, 4]].mean(axis=1, keepdims=True) for poses in (pred, target)]
    expected = mpjpe(to_tensor(moved[0]), to_tensor(moved[1]))
    torch.testing.assert_close(part_mpjpe(to_tensor(pred), to_tensor(target), part), expected)


def test_moving_a_group_changes_nothing_but_moving_a_joint_in_it_does() -> None:
    pred, target = (to_tensor(array) for array in random_poses(2))
    expected = part_mpjpe(pred, target, HANDS)
    moved = pred.clone()
    moved[:, [11, 12, 13]] += 3.0
    moved[:, :5] -= 7.0
    torch.testing.assert_close(part_mpjpe(moved, target, HANDS), expected)
    moved[:, 12] += 3.0
    assert not torch.allclose(part_mpjpe(moved, target, HANDS), expected)


def test_a_group_without_origin_is_refused() -> None:
    part = BodyPart("face", (((1, 2), ()),))
    poses = torch.zeros(2, 17, 3)
    with pytest.raises(ShapeError, match=r"body part 'face'.*\(1, 2\) with origin \(\)"):
        part_mpjpe(poses, poses, part)
