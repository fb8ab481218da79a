"""Averages of pose metrics over a split, batch after batch."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.metrics.functional import LengthErrors, bsle, lle, lse, mpjpe, n_mpjpe, p_mpjpe
from trainables.skeletons import Skeleton

__all__ = ["PoseMetrics"]

_MM_PER_M = 1000.0


class PoseMetrics:
    """Accumulates MPJPE, P-MPJPE, N-MPJPE, LSE, LLE and BSLE.

    Sums are kept in float64 on the device; the host waits for them in `compute` only.

    Args:
        skeleton: Skeleton of the poses.
        num_actions: How many actions there are, for the average over actions.
        device: Where the poses are.
    """

    def __init__(self, skeleton: Skeleton, *, num_actions: int, device: torch.device) -> None:
        self._skeleton = skeleton
        # rows: MPJPE, P-MPJPE, N-MPJPE, poses; one column for each action
        self._errors = torch.zeros(4, num_actions, dtype=torch.float64, device=device)
        # rows: LSE, LLE, BSLE; columns: sum of the errors, values, values left out
        self._lengths = torch.zeros(3, 3, dtype=torch.float64, device=device)

    def update(self, pred: Tensor, target: Tensor, action: Tensor) -> None:
        """Add poses.

        Args:
            pred: Predicted joints, root-relative, metres, (N, J, 3).
            target: Ground truth, same shape and unit.
            action: Index of the action of each pose, (N,), int64.

        Raises:
            ShapeError: If the shapes of the poses differ.
        """
        pred, target = pred.detach().double(), target.detach().double()
        errors = torch.stack(
            [
                mpjpe(pred, target),
                p_mpjpe(pred, target),
                n_mpjpe(pred, target),
                torch.ones(len(pred), dtype=torch.float64, device=pred.device),
            ]
        )
        self._errors.index_add_(1, action, errors)
        lengths = (
            lse(pred, self._skeleton),
            lle(pred, target, self._skeleton),
            bsle(pred, target, self._skeleton),
        )
        self._lengths += torch.stack([_summary(errors) for errors in lengths])

    def compute(self) -> dict[str, float]:
        """Average what was added.

        Returns:
            `mpjpe_mm`, `p_mpjpe_mm`, `n_mpjpe_mm`: over all frames; `action_mpjpe_mm`: unweighted
            mean over the actions seen of their MPJPE; `lse`, `lle`, `bsle`: percent, over all
            frames and segments; `poses`; `segments_left_out`: segments without length in the
            ground truth. NaN where nothing was added.
        """
        errors, lengths = self._errors.cpu(), self._lengths.cpu()
        poses = errors[3].sum()
        mean_mm = _MM_PER_M * errors[:3].sum(dim=1) / poses
        seen = errors[3] > 0
        action_mm = _MM_PER_M * (errors[0, seen] / errors[3, seen]).mean()
        percent = lengths[:, 0] / lengths[:, 1]
        return {
            "mpjpe_mm": float(mean_mm[0]),
            "p_mpjpe_mm": float(mean_mm[1]),
            "n_mpjpe_mm": float(mean_mm[2]),
            "action_mpjpe_mm": float(action_mm),
            "lse": float(percent[0]),
            "lle": float(percent[1]),
            "bsle": float(percent[2]),
            "poses": float(poses),
            "segments_left_out": float(lengths[2, 2]),
        }


def _summary(errors: LengthErrors) -> Tensor:
    """Sum of the errors, number of values, number of values left out, (3,)."""
    total = errors.percent.sum()
    values = errors.valid.sum().to(total.dtype)
    return torch.stack([total, values, errors.valid.numel() - values])
