"""Errors of parts of the body, each moved to a joint of its own (H3WB)."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.errors import ShapeError
from trainables.metrics.functional import joint_distances
from trainables.skeletons import BodyPart

__all__ = ["part_distances", "part_mpjpe"]


def part_mpjpe(pred: Tensor, target: Tensor, part: BodyPart) -> Tensor:
    """MPJPE over a part's joints, each group of them moved to its origin.

    Args:
        pred: Predicted joints of the whole body, (..., J, 3).
        target: Ground truth, same shape and unit.
        part: Groups of joints with their origins; every joint weighs the same.

    Returns:
        Mean over the joints of all groups, (...), in the unit of the input.

    Raises:
        ShapeError: If the shapes differ, or a group has no joints or no origin.
    """
    return part_distances(pred, target, part).mean(dim=-1)


def part_distances(pred: Tensor, target: Tensor, part: BodyPart) -> Tensor:
    """Distance of each of a part's joints from its target; see `part_mpjpe`.

    Returns:
        (..., joints of all groups), in the unit of the input.

    Raises:
        ShapeError: If the shapes differ, or a group has no joints or no origin.
    """
    distances = []
    for joints, origin in part.groups:
        if not joints or not origin:
            raise ShapeError(
                f"body part {part.name!r} has a group of joints {joints} with origin {origin}; "
                "name at least one joint for each"
            )
        moved = [
            poses[..., list(joints), :] - poses[..., list(origin), :].mean(dim=-2, keepdim=True)
            for poses in (pred, target)
        ]
        distances.append(joint_distances(moved[0], moved[1]))
    return torch.cat(distances, dim=-1)
