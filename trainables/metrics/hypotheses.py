"""Errors of several hypotheses for a pose, as D3DP (Shan et al. 2023) aggregates them.

The selectors return poses, so that any metric can follow: PCK of the best hypothesis is
`pck(select_p_best(hypotheses, target), target, ...)`. D3DP puts the root at zero beforehand.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.errors import ShapeError
from trainables.metrics.functional import joint_distances, mpjpe, p_mpjpe, procrustes_align

__all__ = [
    "j_agg",
    "j_best",
    "p_agg",
    "p_best",
    "select",
    "select_j_agg",
    "select_j_best",
    "select_p_best",
]


def j_best(hypotheses: Tensor, target: Tensor, *, align: bool = False) -> Tensor:
    """J-Best: MPJPE of the hypothesis that is best for each joint, an oracle.

    Args:
        hypotheses: (H, ..., J, 3), root-relative.
        target: Ground truth, (..., J, 3), same unit.
        align: Whether each hypothesis is first aligned to the target, as for P-MPJPE.

    Returns:
        Mean over the joints, (...), in the unit of the input.

    Raises:
        ShapeError: If the shapes do not fit.
    """
    candidates = _candidates(hypotheses, target, align=align)
    return mpjpe(select_j_best(candidates, target), target)


def p_best(hypotheses: Tensor, target: Tensor, *, align: bool = False) -> Tensor:
    """P-Best: MPJPE of the best hypothesis of each pose, an oracle.

    D3DP's own code takes the best of a whole evaluation batch; this is the choice for each pose,
    which does not depend on the batch size. Arguments, result and errors as for `j_best`.
    """
    candidates = _candidates(hypotheses, target, align=align)
    return mpjpe(select_p_best(candidates, target), target)


def j_agg(
    hypotheses: Tensor, target: Tensor, reprojection: Tensor, *, align: bool = False
) -> Tensor:
    """J-Agg: MPJPE of the hypothesis that reprojects best, for each joint.

    Args:
        hypotheses: (H, ..., J, 3), root-relative.
        target: Ground truth, (..., J, 3), same unit; measured with, not chosen with.
        reprojection: Distance of each joint's reprojection from the 2D input, (H, ..., J).
        align: Whether each hypothesis is first aligned to the target, as for P-MPJPE; the choice
            stays that of the unaligned reprojection.

    Returns:
        Mean over the joints, (...), in the unit of the hypotheses.

    Raises:
        ShapeError: If the shapes do not fit.
    """
    candidates = _candidates(hypotheses, target, align=align)
    return mpjpe(select_j_agg(candidates, reprojection), target)


def p_agg(hypotheses: Tensor, target: Tensor, *, align: bool = False) -> Tensor:
    """P-Agg: MPJPE of the mean of the hypotheses.

    With `align`, the mean is aligned, not the hypotheses. Arguments, result and errors as for
    `j_best`.
    """
    _require_hypotheses(hypotheses, target)
    mean = hypotheses.mean(dim=0)
    return p_mpjpe(mean, target) if align else mpjpe(mean, target)


def select(values: Tensor, choice: Tensor) -> Tensor:
    """One of several values, chosen for each pose or each joint.

    Args:
        values: Values of H hypotheses, (H, ..., *rest).
        choice: Which, (...), int64.

    Returns:
        (..., *rest).
    """
    rest = values.ndim - 1 - choice.ndim
    index = choice.reshape(1, *choice.shape, *(1,) * rest).expand(1, *values.shape[1:])
    return torch.gather(values, 0, index).squeeze(0)


def select_j_best(hypotheses: Tensor, target: Tensor) -> Tensor:
    """Put each pose together from the joints nearest to the target.

    Args:
        hypotheses: (H, ..., J, 3).
        target: (..., J, 3).

    Returns:
        (..., J, 3); NaN where a hypothesis is.
    """
    _require_hypotheses(hypotheses, target)
    distances = joint_distances(hypotheses, target.expand_as(hypotheses))
    return select(hypotheses, distances.argmin(dim=0))


def select_p_best(hypotheses: Tensor, target: Tensor) -> Tensor:
    """The hypothesis of least MPJPE, for each pose; arguments and result as `select_j_best`."""
    _require_hypotheses(hypotheses, target)
    errors = mpjpe(hypotheses, target.expand_as(hypotheses))
    return select(hypotheses, errors.argmin(dim=0).unsqueeze(-1).expand(target.shape[:-1]))


def select_j_agg(hypotheses: Tensor, reprojection: Tensor) -> Tensor:
    """Put each pose together from the joints that reproject nearest to the 2D input.

    Args:
        hypotheses: (H, ..., J, 3).
        reprojection: Distances in 2D, (H, ..., J).

    Returns:
        (..., J, 3).

    Raises:
        ShapeError: If the shapes do not fit.
    """
    if hypotheses.shape[:-1] != reprojection.shape:
        raise ShapeError(
            f"expected reprojection errors {tuple(hypotheses.shape[:-1])} of hypotheses "
            f"{tuple(hypotheses.shape)}, got {tuple(reprojection.shape)}"
        )
    return select(hypotheses, reprojection.argmin(dim=0))


def _candidates(hypotheses: Tensor, target: Tensor, *, align: bool) -> Tensor:
    _require_hypotheses(hypotheses, target)
    return procrustes_align(hypotheses, target.expand_as(hypotheses)) if align else hypotheses


def _require_hypotheses(hypotheses: Tensor, target: Tensor) -> None:
    if hypotheses.shape[1:] != target.shape or target.ndim < 2 or len(hypotheses) == 0:
        raise ShapeError(
            "expected at least one hypothesis (H, ..., J, 3) for poses (..., J, 3), got "
            f"{tuple(hypotheses.shape)} and {tuple(target.shape)}"
        )
