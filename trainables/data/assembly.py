"""From camera-frame sequences to the arrays of a split; shared by all loaders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import Float64Array, normalize_screen
from trainables.data.dataset import FloatArray, PoseSplit, SequenceInfo
from trainables.skeletons import Skeleton

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
        skeleton: Its origin, else its root joint, is what poses are relative to.
        knows_root: Whether the 3D says where in the camera frame a pose is; if not, poses are
            taken relative to their origin all the same.
    """

    def __init__(
        self,
        *,
        first_sequence: int,
        stride: int,
        skeleton: Skeleton,
        knows_root: bool = True,
    ) -> None:
        self.sequences: list[SequenceInfo] = []
        self._first_sequence = first_sequence
        self._stride = stride
        self._origin = list(skeleton.origin or (skeleton.root,))
        self._knows_root = knows_root
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._all_valid = True

    def add(
        self,
        info: SequenceInfo,
        points_m: Float64Array,
        pixels: NDArray[Any],
        *,
        valid: NDArray[np.bool_] | None = None,
        frames: NDArray[np.integer[Any]] | None = None,
        origin_m: Float64Array | None = None,
    ) -> None:
        """Add a sequence seen by one camera.

        Args:
            info: What it is; the size of its images must be known.
            points_m: Joints in the camera frame, metres, (T, J, 3).
            pixels: 2D key points, pixels, (T, J, 2).
            valid: Whether a frame is scored, (T,); None where all are.
            frames: Frame numbers, (T,); None to count from 0.
            origin_m: Place of the poses' origin, metres, (T, 3); None to take it from the joints.
        """
        if info.size is None:
            raise ValueError(f"sequence {info.subject} {info.action} has no image size")
        step = self._stride
        points = points_m[::step]
        root = points[:, self._origin].mean(axis=1) if origin_m is None else origin_m[::step]
        numbers = np.arange(len(points_m)) if frames is None else frames
        scored = np.ones(len(points_m), np.bool_) if valid is None else valid
        self._all_valid = self._all_valid and bool(scored.all())
        self.sequences.append(info)
        self._parts.append(
            (
                to_stable_float32(normalize_screen(pixels[::step], info.size)),
                to_stable_float32(points - root[:, None]),
                to_stable_float32(root),
                numbers[::step].astype(np.int32),
                scored[::step],
            )
        )

    def build(self) -> PoseSplit:
        """All sequences, one after the other; there must be at least one. To be called once."""
        lengths = [len(part[0]) for part in self._parts]
        columns = [list(column) for column in zip(*self._parts, strict=True)]
        self._parts.clear()  # so that each field's parts go as soon as they are joined
        x, y, root, frame, valid = (np.concatenate(columns.pop(0)) for _ in range(len(columns)))
        numbers = np.arange(len(lengths), dtype=np.int32) + self._first_sequence
        return PoseSplit(
            x=x,
            y=y,
            root=root if self._knows_root else None,
            sequence=np.repeat(numbers, lengths).astype(np.int32),
            frame=frame,
            valid=None if self._all_valid else valid,
        )
