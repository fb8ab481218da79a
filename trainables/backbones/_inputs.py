"""What every pose-net asks of its input."""

from __future__ import annotations

from torch import Tensor

from trainables.errors import ShapeError

__all__ = ["check_input"]


def check_input(x: Tensor, num_joints: int) -> None:
    """Refuse what are no 2D poses of so many joints.

    Raises:
        ShapeError: If joints or coordinates do not fit.
    """
    if x.ndim != 4 or x.shape[2:] != (num_joints, 2):
        raise ShapeError(
            f"expected 2D poses of shape (B, T, {num_joints}, 2), got {tuple(x.shape)}"
        )
