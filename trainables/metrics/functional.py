"""Pose metrics as pure functions; distances keep the unit of their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.errors import ShapeError
from trainables.skeletons import Skeleton

__all__ = [
    "LengthErrors",
    "bsle",
    "joint_distances",
    "lle",
    "lse",
    "mpjpe",
    "mpjve",
    "n_mpjpe",
    "p_mpjpe",
    "procrustes_align",
    "scale_align",
    "segment_lengths",
]

_XYZ = 3


class LengthErrors(NamedTuple):
    """Relative length errors of segments.

    Attributes:
        percent: Error of each segment, percent, (..., S); 0 where it has no value.
        valid: Whether it has a value; false where the reference length is zero, (..., S).
    """

    percent: Tensor
    valid: Tensor


def joint_distances(pred: Tensor, target: Tensor) -> Tensor:
    """Distance of each joint from its target.

    Args:
        pred: Predicted joints, (..., J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        (..., J), in the unit of the input.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    _require_poses(pred, target)
    distances: Tensor = torch.linalg.vector_norm(pred - target, dim=-1)
    return distances


def mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Mean per-joint position error of each pose.

    Args:
        pred: Predicted joints, root-relative, (..., J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        Mean over the joints, (...), in the unit of the input.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    return joint_distances(pred, target).mean(dim=-1)


def mpjve(pred: Tensor, target: Tensor) -> Tensor:
    """Mean per-joint velocity error: MPJPE of the steps from each frame to the next.

    Args:
        pred: Predicted joints of consecutive frames, (..., T, J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        Mean over the joints, (..., T - 1), in the unit of the input per frame.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    _require_poses(pred, target)
    return mpjpe(pred.diff(dim=-3), target.diff(dim=-3))


def n_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """MPJPE after scaling each prediction onto its target (see `scale_align`).

    Args:
        pred: Predicted joints, root-relative, (..., J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        Mean over the joints, (...), in the unit of the input.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    return mpjpe(scale_align(pred, target), target)


def scale_align(pred: Tensor, target: Tensor) -> Tensor:
    """Scale each prediction by the factor of least squared distance from its target.

    Root-relative poses are scaled about the root; nothing is moved or turned.

    Args:
        pred: Predicted joints, root-relative, (..., J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        The scaled predictions, (..., J, 3).

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    _require_poses(pred, target)
    square = pred.square().sum(dim=(-2, -1), keepdim=True)
    product = (pred * target).sum(dim=(-2, -1), keepdim=True)
    return pred * _divide(product, square)


def p_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """MPJPE after Procrustes alignment of each prediction (see `procrustes_align`).

    Args:
        pred: Predicted joints, (..., J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        Mean over the joints, (...), in the unit of the input; NaN for a non-finite pose.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    return mpjpe(procrustes_align(pred, target), target)


def procrustes_align(pred: Tensor, target: Tensor) -> Tensor:
    """Move, turn and scale each prediction onto its target, without reflection.

    The similarity transform of least squared distance (Umeyama 1991), by one batched singular
    value decomposition. A prediction whose joints coincide is moved only.

    Args:
        pred: Predicted joints, (..., J, 3).
        target: Ground truth, same shape and unit.

    Returns:
        The aligned predictions, (..., J, 3); NaN where a pose of a pair is non-finite.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    _require_poses(pred, target)
    target_mean = target.mean(dim=-2, keepdim=True)
    source, goal = pred - pred.mean(dim=-2, keepdim=True), target - target_mean
    covariance = source.transpose(-2, -1) @ goal  # (..., 3, 3)
    finite = covariance.isfinite().all(dim=-1).all(dim=-1)[..., None, None]
    # the decomposition fails for the whole batch if one matrix is not finite
    u, singular, vh = torch.linalg.svd(torch.where(finite, covariance, 0.0))
    signs = torch.ones_like(singular)
    signs[..., -1] = _handedness(u @ vh)  # -1 where the best orthogonal map is a reflection
    rotation = (u * signs.unsqueeze(-2)) @ vh
    square = source.square().sum(dim=(-2, -1), keepdim=True)
    scale = _divide((singular * signs).sum(dim=-1)[..., None, None], square)
    aligned = scale * (source @ rotation) + target_mean
    return torch.where(finite, aligned, torch.nan)


def segment_lengths(joints: Tensor, segments: Sequence[tuple[int, int]]) -> Tensor:
    """Lengths of segments between joints.

    Args:
        joints: Poses, (..., J, 3).
        segments: S pairs of joint indices.

    Returns:
        (..., S), in the unit of the input.
    """
    starts, ends = zip(*segments, strict=True)
    spans = joints[..., ends, :] - joints[..., starts, :]
    lengths: Tensor = torch.linalg.vector_norm(spans, dim=-1)
    return lengths


def lse(joints: Tensor, skeleton: Skeleton) -> LengthErrors:
    """Limb symmetry error: 100·|‖l‖ - ‖r‖| / ((‖l‖ + ‖r‖)/2) of each limb pair (paper, 5.2).

    Args:
        joints: Poses, (..., J, 3); no ground truth is needed.
        skeleton: Names the limb pairs: upper arm, forearm, thigh, shin.

    Returns:
        One error for each pair; without value where both limbs have no length.
    """
    left = segment_lengths(joints, [pair[0] for pair in skeleton.limb_pairs])
    right = segment_lengths(joints, [pair[1] for pair in skeleton.limb_pairs])
    return _percent((left - right).abs(), (left + right) / 2)


def lle(pred: Tensor, target: Tensor, skeleton: Skeleton) -> LengthErrors:
    """Limb length error: `bsle` over the eight limb segments (paper, 5.2).

    Args:
        pred: Predicted joints, (..., J, 3).
        target: Ground truth, same shape and unit.
        skeleton: Names the limbs.

    Returns:
        One error for each limb; without value where it has no length in the ground truth.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    return _length_errors(pred, target, skeleton.limbs)


def bsle(pred: Tensor, target: Tensor, skeleton: Skeleton) -> LengthErrors:
    """Body segment length error: 100·|1 - ‖k̃‖/‖k‖| of each segment (paper, 5.2).

    Args:
        pred: Predicted joints, (..., J, 3).
        target: Ground truth, same shape and unit.
        skeleton: Names the segments.

    Returns:
        One error for each segment; without value where it has no length in the ground truth.

    Raises:
        ShapeError: If the shapes differ; the message gives both.
    """
    return _length_errors(pred, target, skeleton.segments)


def _length_errors(
    pred: Tensor, target: Tensor, segments: Sequence[tuple[int, int]]
) -> LengthErrors:
    _require_poses(pred, target)
    truth = segment_lengths(target, segments)
    return _percent((truth - segment_lengths(pred, segments)).abs(), truth)


def _percent(difference: Tensor, reference: Tensor) -> LengthErrors:
    return LengthErrors(100.0 * _divide(difference, reference), reference != 0)


def _handedness(matrix: Tensor) -> Tensor:
    """Sign of the determinant of orthogonal matrices, (..., 3, 3) to (...)."""
    first, second, third = matrix.unbind(dim=-2)
    determinant: Tensor = (torch.linalg.cross(first, second) * third).sum(dim=-1)
    return determinant.sign()


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient, with 0 where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))


def _require_poses(pred: Tensor, target: Tensor) -> None:
    if pred.shape != target.shape or pred.ndim < 2 or pred.shape[-1] != _XYZ:
        raise ShapeError(
            f"expected poses (..., J, 3) of one shape, got {tuple(pred.shape)} "
            f"and {tuple(target.shape)}"
        )
