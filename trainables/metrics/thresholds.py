"""PCK and AUC as MPI-INF-3DHP's evaluation counts them: strictly nearer than a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.metrics.functional import joint_distances

__all__ = ["PCK_THRESHOLD_MM", "auc", "auc_thresholds_mm", "pck", "share_of_thresholds"]

PCK_THRESHOLD_MM = 150.0

_STEP_MM = 5.0
_STEPS = 30


def pck(
    pred_mm: Tensor,
    target_mm: Tensor,
    *,
    joints: Sequence[int],
    threshold_mm: float = PCK_THRESHOLD_MM,
) -> Tensor:
    """Share of joints that are nearer to their target than a threshold.

    Args:
        pred_mm: Predicted joints, root-relative, millimetres, (..., J, 3).
        target_mm: Ground truth, same shape and unit.
        joints: Joints that count.
        threshold_mm: A joint at just this distance is not near.

    Returns:
        Percent, (...); NaN for a pose with NaN in it.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    distances = joint_distances(pred_mm, target_mm)[..., list(joints)]
    return share_of_thresholds(distances, distances.new_tensor([threshold_mm])).mean(dim=-1)


def auc(
    pred_mm: Tensor, target_mm: Tensor, *, joints: Sequence[int], with_zero: bool = True
) -> Tensor:
    """Mean of the PCK at 0, 5, ..., 150 mm.

    Args:
        pred_mm: Predicted joints, root-relative, millimetres, (..., J, 3).
        target_mm: Ground truth, same shape and unit.
        joints: Joints that count.
        with_zero: Whether the threshold 0 is one of 31, as in the official evaluation, where
            even a perfect prediction gets 30/31; without it, it gets 100 %.

    Returns:
        Percent, (...); NaN for a pose with NaN in it.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    distances = joint_distances(pred_mm, target_mm)[..., list(joints)]
    return share_of_thresholds(distances, auc_thresholds_mm(distances, with_zero)).mean(dim=-1)


def auc_thresholds_mm(like: Tensor, with_zero: bool = True) -> Tensor:
    """Thresholds of `auc`, of the type and on the device of `like`, (31,) or (30,)."""
    steps = torch.arange(0 if with_zero else 1, _STEPS + 1, device=like.device, dtype=like.dtype)
    return _STEP_MM * steps


def share_of_thresholds(distances: Tensor, thresholds: Tensor) -> Tensor:
    """Share of the thresholds that a distance is below.

    Args:
        distances: Of any shape.
        thresholds: Ascending, (K,), of the same unit and type.

    Returns:
        Percent, in the shape of `distances`; NaN where these are.
    """
    passed = torch.bucketize(distances, thresholds, right=True)  # thresholds <= distance
    share = 100.0 * (len(thresholds) - passed).to(distances.dtype) / len(thresholds)
    return torch.where(distances.isnan(), torch.nan, share)
