"""Objectives of pose-net and loss-net, as pure functions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.metrics.functional import mpjpe

__all__ = ["PoseLossName", "margin_loss", "nce_loss", "pose_loss"]

PoseLossName = Literal["mse", "mse_sum", "mpjpe"]


def pose_loss(name: PoseLossName, pred: Tensor, target: Tensor) -> Tensor:
    """Supervised part of the pose-net's loss (Eq. 7).

    Args:
        name: `mse`: squared error, mean over everything. `mse_sum`: squared error, mean over
            poses and coordinates, summed over joints, so J times `mse`. `mpjpe`: Euclidean
            error, mean over poses and joints.
        pred: Predicted joints ỹ, metres, (B, T, J, 3).
        target: Ground truth y, same shape and unit.

    Returns:
        Scalar; square metres, or metres for `mpjpe`.

    Raises:
        ShapeError: If the shapes differ (`mpjpe`).
    """
    match name:
        case "mse":
            return F.mse_loss(pred, target)
        case "mse_sum":
            return F.mse_loss(pred, target) * pred.shape[-2]
        case "mpjpe":
            return mpjpe(pred, target).mean()


def margin_loss(energy_true: Tensor, energy_negatives: Tensor, margins: Tensor) -> Tensor:
    """Margin objective of the loss-net: max_k [Δ_k - E(x, ỹ_k) + E(x, y)]_+ (Eq. 9).

    Args:
        energy_true: E(x, y) of each pose, (B, T).
        energy_negatives: E(x, ỹ_k) of its K negatives, (K, B, T).
        margins: Δ(y, ỹ_k), in the unit of the energies, (K, B, T).

    Returns:
        Scalar, mean over the poses.
    """
    violations = margins - energy_negatives + energy_true
    return F.relu(violations).amax(dim=0).mean()


def nce_loss(energy_true: Tensor, energy_negatives: Tensor) -> Tensor:
    """Contrastive objective of the loss-net: -log softmax of -E at the truth (Eq. 10).

    Args:
        energy_true: E(x, y) of each pose, (B, T).
        energy_negatives: E(x, ỹ_k) of its K negatives, (K, B, T).

    Returns:
        Scalar, mean over the poses.
    """
    logits = -torch.cat([energy_true.unsqueeze(0), energy_negatives])
    return -F.log_softmax(logits, dim=0)[0].mean()
