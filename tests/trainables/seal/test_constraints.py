"""Explicit constraints by hand."""

from __future__ import annotations

import pytest
import torch

from trainables.seal.constraints import (
    length_constraint,
    symmetric_segments,
    symmetry_constraint,
)
from trainables.skeletons import H36M_17, SKELETONS, Skeleton


def pose(seed: int = 0) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(2, 1, 17, 3, generator=stream, dtype=torch.float64)


def test_the_symmetric_bones_of_human36m() -> None:
    assert set(symmetric_segments(H36M_17)) == {
        *(((0, 4), (0, 1)), ((4, 5), (1, 2)), ((5, 6), (2, 3))),
        *(((8, 11), (8, 14)), ((11, 12), (14, 15)), ((12, 13), (15, 16))),
    }


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_every_left_bone_has_its_right_counterpart(skeleton: Skeleton) -> None:
    segments = set(skeleton.segments)
    pairs = symmetric_segments(skeleton)
    assert len(pairs) == len(skeleton.left)
    for left, right in pairs:
        assert left in segments
        assert right in segments


def test_lengths_are_compared_bone_by_bone() -> None:
    target = pose()
    assert length_constraint(target, target, H36M_17).item() == 0.0
    # scaled about the root every bone is a tenth longer
    mean_length = torch.stack(
        [
            (target[..., end, :] - target[..., start, :]).norm(dim=-1)
            for start, end in H36M_17.segments
        ]
    ).mean()
    longer = length_constraint(1.1 * target, target, H36M_17)
    assert longer.item() == pytest.approx(0.1 * mean_length.item(), rel=1e-12)
    shorter = length_constraint(0.9 * target, target, H36M_17)
    assert shorter.item() == pytest.approx(longer.item(), rel=1e-12)


def test_symmetry_needs_no_truth_and_sees_one_longer_shin() -> None:
    pred = torch.zeros(1, 1, 17, 3)
    pred[..., 6, 1] = 0.3  # the left foot, 30 cm from its knee
    # one of six pairs differs, by 0.3
    assert symmetry_constraint(pred, H36M_17).item() == pytest.approx(0.3 / 6)
    pred[..., 3, 2] = 0.3
    assert symmetry_constraint(pred, H36M_17).item() == pytest.approx(0.0)


def test_both_pull_towards_the_constraint() -> None:
    pred, target = pose(1).requires_grad_(True), pose(2)
    before = length_constraint(pred, target, H36M_17) + symmetry_constraint(pred, H36M_17)
    (gradient,) = torch.autograd.grad(before, pred)
    moved = pred.detach() - 0.01 * gradient / gradient.norm()
    after = length_constraint(moved, target, H36M_17) + symmetry_constraint(moved, H36M_17)
    assert after < before
