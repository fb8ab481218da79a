"""What every pose-net asks of its input."""

from __future__ import annotations

from torch import Tensor

from trainables.errors import ShapeError

__all__ = ["check_clips", "check_input"]


def check_input(x: Tensor, num_joints: int) -> None:
    """Refuse what are no 2D poses of so many joints.

    Raises:
        ShapeError: If joints or coordinates do not fit.
    """
    if x.ndim != 4 or x.shape[2:] != (num_joints, 2):
        raise ShapeError(
            f"expected 2D poses of shape (B, T, {num_joints}, 2), got {tuple(x.shape)}"
        )


def check_clips(x: Tensor, num_joints: int, frames: int) -> None:
    """Refuse what are no clips of so many 2D poses.

    Raises:
        ShapeError: If frames, joints or coordinates do not fit.
    """
    check_input(x, num_joints)
    if x.shape[1] != frames:
        raise ShapeError(
            f"expected clips of {frames} frames, (B, {frames}, {num_joints}, 2), got "
            f"{tuple(x.shape)}; set data.frames={frames}, or build the net with "
            f"frames={x.shape[1]}"
        )
