"""How a loss-net sees 2D and 3D (A.7, Table 9)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from trainables.config import InputMechanism
from trainables.errors import ShapeError

__all__ = ["JOINT_FEATURES", "fold_frames", "joint_features"]

JOINT_FEATURES: Mapping[InputMechanism, int] = MappingProxyType(
    {"M1": 3, "M2": 3, "M3": 5, "M4": 3}
)
"""Coordinates per joint that a mechanism feeds to the encoder of 3D, joint identity apart."""


def fold_frames(x: Tensor, y: Tensor, num_joints: int) -> tuple[Tensor, Tensor]:
    """Fold the frames of clips into the batch.

    Args:
        x: Normalised screen coordinates, (B, T, J, 2).
        y: Root-relative joints, metres, (B, T, J, 3), or several of each, (P, B, T, J, 3).
        num_joints: Joints J of the skeleton.

    Returns:
        x as (B·T, J, 2) and y as (P·B·T, J, 3).

    Raises:
        ShapeError: If the two do not fit each other or the skeleton.
    """
    expected = (*x.shape[:2], num_joints)
    if x.shape != (*expected, 2) or y.shape[-4:] != (*expected, 3) or y.ndim > 5:
        raise ShapeError(
            f"expected 2D (B, T, {num_joints}, 2) and 3D ([P,] B, T, {num_joints}, 3) of the same "
            f"B and T, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return x.reshape(-1, num_joints, 2), y.reshape(-1, num_joints, 3)


def joint_features(mechanism: InputMechanism, x: Tensor, y: Tensor) -> Tensor:
    """Collect the coordinates of each joint that the encoder of 3D sees.

    Args:
        mechanism: Early fusion, M3, takes [k2D_j, k3D_j]; the others take k3D_j alone, and M2
            and M4 encode 2D apart.
        x: Normalised screen coordinates, (N, J, 2).
        y: Root-relative joints, metres, (P·N, J, 3), the first N those of all x.

    Returns:
        (P·N, J, `JOINT_FEATURES[mechanism]`).
    """
    if mechanism != "M3":
        return y
    poses = y.unflatten(0, (-1, len(x)))
    return torch.cat([x.expand(len(poses), *x.shape), poses], dim=-1).flatten(0, 1)
