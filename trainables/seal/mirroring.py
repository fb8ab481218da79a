"""Mirror images of poses: left becomes right (flip augmentation)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from trainables.skeletons import Skeleton

__all__ = ["mirror", "mirror_some"]


def mirror(points: Tensor, skeleton: Skeleton) -> Tensor:
    """Mirror poses as a camera would see them in a mirror.

    Args:
        points: Normalised screen coordinates (..., J, 2), or the camera frame (..., J, 3).
        skeleton: Says which joints are each other's mirror images.

    Returns:
        x negated, left and right joints exchanged; same shape.
    """
    exchanged = points.index_select(-2, _order(skeleton, points.device))
    return torch.cat([-exchanged[..., :1], exchanged[..., 1:]], dim=-1)


def mirror_some(points: Tensor, flipped: Tensor, skeleton: Skeleton) -> Tensor:
    """Mirror those clips that are to be flipped.

    Args:
        points: Clips, (B, T, J, 2) or (B, T, J, 3).
        flipped: Which, (B,), bool.
        skeleton: See `mirror`.
    """
    return torch.where(flipped[:, None, None, None], mirror(points, skeleton), points)


@lru_cache
def _order(skeleton: Skeleton, device: torch.device) -> Tensor:
    """The joints' places in a mirror image, on a device: copied there once, not in each step."""
    with torch.inference_mode(False):  # else a later backward pass could not use it
        return torch.tensor(skeleton.mirrored, device=device)
