"""From camera-frame sequences to the arrays of a split; shared by all loaders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import Float64Array, normalize_screen
from trainables.data.dataset import FloatArray, PoseSplit, SequenceInfo

__all__ = ["SplitBuilder", "to_stable_float32"]

DECIMALS = 6


def to_stable_float32(values: Float64Array) -> FloatArray:
    """Round to 1e-6 (a micrometre, 0.0005 px) and cast to float32.

    Sines and square roots differ in their last bit between processors; rounded first, the
    arrays and so the content hash are the same everywhere.
    """
    return (np.round(values, DECIMALS) + 0.0).astype(np.float32)  # + 0.0 turns -0.0 into 0.0


class SplitBuilder:
    """Collects the sequences of one split.

    Args:
        first_sequence: Index of the split's first sequence in `PoseDataset.sequences`.
        stride: Every how many-th frame of a sequence is kept.
        root: Index of the root joint.
    """

    def __init__(self, *, first_sequence: int, stride: int, root: int) -> None:
        self.sequences: list[SequenceInfo] = []
        self._first_sequence = first_sequence
        self._stride = stride
        self._root = root
        self._parts: list[tuple[FloatArray, FloatArray, FloatArray, NDArray[Any]]] = []

    def add(self, info: SequenceInfo, points_m: Float64Array, pixels: NDArray[Any]) -> None:
        """Add a sequence seen by one camera.

        Args:
            info: What it is; its camera must be known.
            points_m: Joints in the camera frame, metres, (T, J, 3).
            pixels: 2D key points, pixels, (T, J, 2).
        """
        if info.camera is None:
            raise ValueError(f"sequence {info.subject} {info.action} has no camera")
        step = self._stride
        points = points_m[::step]
        root = points[:, self._root]
        self.sequences.append(info)
        self._parts.append(
            (
                to_stable_float32(normalize_screen(pixels[::step], info.camera)),
                to_stable_float32(points - root[:, None]),
                to_stable_float32(root),
                np.arange(0, len(points_m), step, dtype=np.int32),
            )
        )

    def build(self) -> PoseSplit:
        """All sequences, one after the other; there must be at least one."""
        x, y, root, frame = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        lengths = [len(part[0]) for part in self._parts]
        numbers = np.arange(len(lengths), dtype=np.int32) + self._first_sequence
        return PoseSplit(
            x=x,
            y=y,
            root=root,
            sequence=np.repeat(numbers, lengths).astype(np.int32),
            frame=frame.astype(np.int32),
        )
