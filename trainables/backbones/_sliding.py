"""Sliding a many-to-one net over clips that are longer than its window."""

from __future__ import annotations

from torch import Tensor

from trainables.backbones._inputs import check_input
from trainables.errors import ShapeError
from trainables.windows import Window

__all__ = ["as_windows", "middle_window"]


def middle_window(frames: int) -> Window:
    """The window of a net that gives a pose for the middle one of so many frames.

    Raises:
        ValueError: If the frames have no middle.
    """
    if frames < 1 or frames % 2 == 0:
        raise ValueError(f"frames must be odd and positive, got {frames}")
    return Window(frames, "middle")


def as_windows(x: Tensor, num_joints: int, frames: int) -> Tensor:
    """Every window of a batch of clips, one after another.

    Args:
        x: Normalised screen coordinates, (B, T, J, 2), T >= `frames`.
        num_joints: Joints J.
        frames: Frames of a window.

    Returns:
        (B·T', `frames`, J, 2), T' = T - `frames` + 1, a view where T' is 1.

    Raises:
        ShapeError: If joints or coordinates do not fit, or the clips are too short.
    """
    check_input(x, num_joints)
    if x.shape[1] < frames:
        raise ShapeError(
            f"clips of {x.shape[1]} frames are shorter than the window of {frames}; set "
            f"data.frames={frames}, or build the net with fewer frames"
        )
    if x.shape[1] == frames:
        return x
    return x.unfold(1, frames, 1).movedim(-1, 2).flatten(0, 1)
