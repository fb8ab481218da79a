"""Pose losses of the backbones' authors that are more than one mean of errors."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from trainables.metrics.functional import joint_distances, mpjpe, mpjve, n_mpjpe
from trainables.skeletons import Skeleton

__all__ = ["mixste_loss", "motionagformer_loss"]

_JOINT_WEIGHTS = {
    "knee": 2.5,
    "ankle": 2.5,
    "head": 1.5,
    "head_top": 1.5,
    "shoulder": 1.5,
    "elbow": 4.0,
    "wrist": 4.0,
}
"""MixSTE's weights of joints by their name; all others count once."""


def mixste_loss(pred: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    """MixSTE's and KTPFormer's loss: weighted positions, smoothness, velocity.

    mean w_j‖p - y‖ + 0.5 mean w_j (p_{t+1} - p_t)² + 2 mean ‖(p_{t+1} - p_t) - (y_{t+1} - y_t)‖;
    of single frames the first term only.

    Args:
        pred: Predicted joints, metres, (B, T, J, 3).
        target: Ground truth, same shape and unit.
        skeleton: Says by their names which joints weigh more.

    Returns:
        Scalar.
    """
    weights = _weights(skeleton, pred.device, pred.dtype)
    loss = (weights * joint_distances(pred, target)).mean()
    if pred.shape[1] == 1:
        return loss
    steps = pred.diff(dim=1)
    smoothness = (weights[:, None] * steps.square()).mean()
    return loss + 0.5 * smoothness + 2.0 * mpjve(pred, target).mean()


def motionagformer_loss(pred: Tensor, target: Tensor) -> Tensor:
    """MotionAGFormer's loss: MPJPE + 0.5 N-MPJPE + 20 times the error of velocities.

    Args:
        pred: Predicted joints, metres, (B, T, J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        Scalar, metres.
    """
    loss = mpjpe(pred, target).mean() + 0.5 * n_mpjpe(pred, target).mean()
    return loss if pred.shape[1] == 1 else loss + 20.0 * mpjve(pred, target).mean()


@lru_cache
def _weights(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Tensor:
    """MixSTE's weights of a skeleton's joints, (J,): copied to a device once, not in each step."""
    names = [name.removeprefix("l_").removeprefix("r_") for name in skeleton.joints]
    values = [_JOINT_WEIGHTS.get(name, 1.0) for name in names]
    with torch.inference_mode(False):  # else a later backward pass could not use it
        return torch.tensor(values, device=device, dtype=dtype)
