"""Objectives of pose-net and loss-net, as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config import OfficialLossName
from trainables.errors import ShapeError
from trainables.metrics.functional import mpjpe

__all__ = ["margin_loss", "nce_loss", "pair_loss", "pose_loss", "window_loss"]


def pose_loss(name: OfficialLossName, pred: Tensor, target: Tensor) -> Tensor:
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
        ShapeError: If the shapes differ.
        ValueError: For a loss that is made of more; see `supervised_loss`.
    """
    if pred.shape != target.shape:
        raise ShapeError(
            f"predictions {tuple(pred.shape)} do not fit targets {tuple(target.shape)}; does the "
            "pose-net shorten its clips? Give it as many frames as it returns"
        )
    match name:
        case "mse":
            return F.mse_loss(pred, target)
        case "mse_sum":
            return F.mse_loss(pred, target) * pred.shape[-2]
        case "mpjpe":
            return mpjpe(pred, target).mean()
        case _:
            raise ValueError(f"pose loss {name!r} is made of more than the predictions")


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


def pair_loss(
    energies: Tensor,
    poses: Tensor,
    disturbance: Tensor,
    *,
    scale: float,
    pairs: tuple[Tensor, Tensor],
) -> Tensor:
    """Ordering of perturbed negatives: the worse one has the higher energy (Eq. 3).

    The negatives of a pose are sorted by how far their 2D was moved; a pair (i, j), i the worse,
    costs [κ·MPJPE(ỹ_i, ỹ_j) - E_i + E_j]_+.

    Args:
        energies: E(x, ỹ_k), (K, B, T).
        poses: ỹ_k, metres, (K, B, T, J, 3).
        disturbance: 2D MPJPE between x_k and x, (K, B, T).
        scale: κ.
        pairs: Ranks from 0, the least disturbed, of the worse and the better negatives of P
            pairs, int64, (P,) each.

    Returns:
        Scalar, mean over pairs and poses.
    """
    order = disturbance.argsort(dim=0, stable=True)
    energies = energies.gather(0, order)
    poses = poses.gather(0, order[..., None, None].expand_as(poses))
    worse, better = pairs
    margins = scale * mpjpe(poses[worse], poses[better])
    return F.relu(margins - energies[worse] + energies[better]).mean()


def window_loss(
    energies: Tensor, poses: Tensor, *, scale: float, frames: int, shift: int
) -> Tensor:
    """Neighbouring windows differ in energy as they differ in pose (Eqs. 4, 5).

    All pairs of windows that start 1 to `shift` frames apart are compared: a pair (t, s) costs
    [κ·MPJPE(ȳ(t), ȳ(s)) - |Ē(t) - Ē(s)|]_+.

    Args:
        energies: E(x, ỹ) of each frame, (B, T), T at least `frames` + `shift`.
        poses: ỹ, metres, (B, T, J, 3).
        scale: κ.
        frames: Frames w that a window averages.
        shift: Largest distance of two starts, frames.

    Returns:
        Scalar, mean over pairs and clips.
    """
    mean_energies = energies.unfold(1, frames, 1).mean(dim=-1)  # (B, T-w+1)
    mean_poses = poses.unfold(1, frames, 1).mean(dim=-1)  # (B, T-w+1, J, 3)
    costs = []
    for apart in range(1, shift + 1):
        margins = scale * mpjpe(mean_poses[:, apart:], mean_poses[:, :-apart])
        gaps = (mean_energies[:, apart:] - mean_energies[:, :-apart]).abs()
        costs.append(F.relu(margins - gaps))
    return torch.cat(costs, dim=1).mean()
