"""Which frames of a sequence a net is shown at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["SINGLE_FRAMES", "Window", "clip_middles", "covering_windows"]

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Frames that a pose-net takes at a time, and those that it gives a pose for.

    Attributes:
        frames: Frames T of its input; 1 for a net that lifts each frame on its own.
        output: `all`: a pose for every frame. `middle`: for the middle one; of a longer clip,
            for every frame that has (T - 1) / 2 neighbours on either side.
    """

    frames: int = 1
    output: Literal["all", "middle"] = "all"

    def outputs(self, frames: int) -> int:
        """Poses that come out of a clip of so many frames."""
        return frames if self.output == "all" else frames - self.frames + 1


SINGLE_FRAMES = Window()
"""Every frame on its own."""


def clip_middles(length: int, step: int) -> Positions:
    """Middle frames of the training clips of a sequence (VideoPose3D's chunks).

    The sequence is cut into blocks of `step` frames, what is missing at its ends being shared
    between both; a clip has the middle of a block as its own. So with `step` 1 every frame is a
    middle, and with `step` equal to the clips' length they touch without overlapping.

    Args:
        length: Frames N of the sequence.
        step: Frames of a block.

    Returns:
        Positions in the sequence, (ceil(N / step),), int64, each of 0 to N - 1.
    """
    blocks = -(-length // step)
    missing = (blocks * step - length) // 2
    return np.arange(blocks, dtype=np.int64) * step - missing + (step - 1) // 2


def covering_windows(length: int, frames: int) -> tuple[Positions, Positions]:
    """Windows that show every frame of a sequence, for nets that give all frames a pose.

    They follow one another from the first frame; the last one ends with the sequence, and so
    overlaps the one before. A sequence shorter than a window has one, which begins with it.

    Args:
        length: Frames N of the sequence.
        frames: Frames T of a window.

    Returns:
        First frame of each window, and how many of its frames the windows before have shown,
        (ceil(N / T),) each, int64.
    """
    plain = np.arange(0, length, frames, dtype=np.int64)
    starts = np.minimum(plain, max(length - frames, 0))
    return starts, plain - starts
