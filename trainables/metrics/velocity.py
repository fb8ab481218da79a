"""Velocity errors of poses that arrive in batches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.metrics.functional import joint_distances
from trainables.metrics.labels import PoseLabels
from trainables.metrics.measures import Values

__all__ = ["VELOCITY", "VelocityErrors"]

VELOCITY = "mpjve_mm"
"""Name of the figure: mean per-joint velocity error, millimetres per frame."""


class _Frames(NamedTuple):
    pred: Tensor
    target: Tensor
    sequence: Tensor
    frame: Tensor
    valid: Tensor


class VelocityErrors:
    """MPJVE joint by joint, from each pose to the next, across the borders of batches.

    Only a step from a frame to the next of the same sequence counts, and only if both are valid;
    of loose poses, without a distance from frame to frame, none does.
    """

    def __init__(self, frame_step: int | None) -> None:
        self._frame_step = frame_step
        self._last: _Frames | None = None

    def update(self, pred: Tensor, target: Tensor, labels: PoseLabels) -> Values:
        """Measure the steps that lead to some poses, the first of them from the batch before.

        Args:
            pred: Predicted joints, (N, J, 3), N > 0, in order of time.
            target: Ground truth, same shape and unit.
            labels: Where the poses come from.

        Returns:
            One value for each joint, (N, J), in the unit of the input per frame.
        """
        batch = _Frames(pred, target, labels.sequence, labels.frame, labels.valid)
        # the very first pose follows itself, which does not count: its frame is not the next
        last = self._last or _Frames(*(values[:1] for values in batch))
        frames = _Frames(*(torch.cat(pair) for pair in zip(last, batch, strict=True)))
        self._last = _Frames(*(values[-1:].clone() for values in batch))
        follows = (frames.sequence.diff() == 0) & (frames.frame.diff() == self._frame_step)
        if self._frame_step is None:
            follows = torch.zeros_like(follows)
        counted = follows & frames.valid[1:] & frames.valid[:-1]
        errors = joint_distances(frames.pred.diff(dim=0), frames.target.diff(dim=0))
        return Values(errors, counted.unsqueeze(1).expand_as(errors))
