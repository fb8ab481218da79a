"""What the averages must know of a pose besides its joints."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["PoseLabels"]


class PoseLabels(Protocol):
    """Where N poses come from; `trainables.seal.device_data.Poses` says it."""

    @property
    def action(self) -> Tensor:
        """Index of the action, (N,), int64."""

    @property
    def sequence(self) -> Tensor:
        """Index of the sequence, (N,), int64."""

    @property
    def frame(self) -> Tensor:
        """Frame number in the sequence, (N,), int64."""

    @property
    def valid(self) -> Tensor:
        """Whether the frame is scored, (N,), bool."""
