"""Explicit constraints on bones, the baseline that SEAL is compared with (Table 4).

After Cao and Zhao, "Anatomy and geometry constrained one-stage framework for 3d human pose
estimation", ACCV 2020.
"""

from __future__ import annotations

from torch import Tensor

from trainables.metrics.functional import segment_lengths
from trainables.skeletons import Skeleton

__all__ = ["length_constraint", "symmetric_segments", "symmetry_constraint"]

Segment = tuple[int, int]


def length_constraint(pred: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean of |‖b̃‖ - ‖b‖| over all bones b.

    Args:
        pred: Predicted joints, metres, (..., J, 3).
        target: Ground truth, same shape and unit.
        skeleton: Names the bones.

    Returns:
        Scalar, metres.
    """
    bones = skeleton.segments
    return (segment_lengths(pred, bones) - segment_lengths(target, bones)).abs().mean()


def symmetry_constraint(pred: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean of |‖b̃_left‖ - ‖b̃_right‖| over all bones with a counterpart.

    Args:
        pred: Predicted joints, metres, (..., J, 3).
        skeleton: Names the bones and the sides.

    Returns:
        Scalar, metres.
    """
    left, right = zip(*symmetric_segments(skeleton), strict=True)
    return (segment_lengths(pred, left) - segment_lengths(pred, right)).abs().mean()


def symmetric_segments(skeleton: Skeleton) -> tuple[tuple[Segment, Segment], ...]:
    """Pairs of left segments and their right counterparts, of any segments, not limbs only."""
    mirrored = dict(zip(skeleton.left, skeleton.right, strict=True))
    return tuple(
        ((start, end), (mirrored.get(start, start), mirrored[end]))
        for start, end in skeleton.segments
        if end in mirrored
    )
