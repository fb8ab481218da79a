"""Epoch averages of training figures, and the watch over their finiteness."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.errors import NonFiniteError

__all__ = ["StepMonitor", "require_finite"]

# how many steps may run before the host waits for the figures of the first
_STEPS_PER_CHECK = {"cpu": 1}
_STEPS_PER_CHECK_ACCELERATOR = 20


class StepMonitor:
    """Averages the figures of an epoch's steps, weighted by poses.

    Args:
        epoch: Epoch, from 1.
        first_step: Steps that the run had finished before the epoch.
        device: Where the figures come from; an accelerator is asked every few steps only.
    """

    def __init__(self, *, epoch: int, first_step: int, device: torch.device) -> None:
        self._epoch = epoch
        self._checked_step = first_step
        self._interval = _STEPS_PER_CHECK.get(device.type, _STEPS_PER_CHECK_ACCELERATOR)
        self._names: tuple[str, ...] = ()
        self._pending: list[tuple[Tensor, int]] = []
        self._sums: dict[str, float] = {}
        self._poses = 0
        self._last_finite: dict[str, float] = {}

    def add(self, figures: Mapping[str, Tensor], *, poses: int) -> None:
        """Add a step's figures, the same names at every step.

        Raises:
            NonFiniteError: If a figure of a checked step is NaN or infinite; names the step.
        """
        self._names = tuple(figures)
        self._pending.append((torch.stack(list(figures.values())), poses))
        if len(self._pending) >= self._interval:
            self._check()

    def compute(self) -> dict[str, float]:
        """Check what is unchecked, and return the means over the epoch's poses.

        Raises:
            NonFiniteError: If a figure is NaN or infinite; names the step.
        """
        if self._pending:
            self._check()
        return {name: total / self._poses for name, total in self._sums.items()}

    @property
    def last_finite(self) -> dict[str, float]:
        """Figures of the last checked step."""
        return dict(self._last_finite)

    def _check(self) -> None:
        rows = torch.stack([row for row, _ in self._pending]).double().tolist()
        for row, (_, poses) in zip(rows, self._pending, strict=True):
            self._checked_step += 1
            figures = dict(zip(self._names, row, strict=True))
            require_finite(
                figures,
                epoch=self._epoch,
                step=self._checked_step,
                last_finite=self._last_finite,
            )
            self._last_finite = figures
            self._poses += poses
            for name, value in figures.items():
                self._sums[name] = self._sums.get(name, 0.0) + value * poses
        self._pending.clear()


def require_finite(
    figures: Mapping[str, float], *, epoch: int, step: int, last_finite: Mapping[str, float]
) -> None:
    """Refuse figures that are NaN or infinite.

    Raises:
        NonFiniteError: Names the first such figure.
    """
    for name, value in figures.items():
        if not math.isfinite(value):
            raise NonFiniteError(name, epoch=epoch, step=step, last_finite=dict(last_finite))
