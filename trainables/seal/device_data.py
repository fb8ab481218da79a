"""A split as tensors on the device, handed out in copies."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.errors import DataError

__all__ = ["DeviceSplit", "Poses", "load_split", "require_split"]


class Poses(NamedTuple):
    """Some poses, each a clip of T frames; copies, which may be written to.

    Attributes:
        x: Normalised screen coordinates, (B, T, J, 2).
        y: Root-relative joints, metres, (B, T, J, 3).
        action: Index of the action of each clip, (B,), int64.
        sequence: Index of its sequence in the data set, (B,), int64.
        frame: Frame number of its middle frame in the sequence's source, (B,), int64.
        valid: Whether that frame is scored, (B,), bool.
    """

    x: Tensor
    y: Tensor
    action: Tensor
    sequence: Tensor
    frame: Tensor
    valid: Tensor


class DeviceSplit:
    """Poses of a split.

    On a CPU the tensors may be the memory of a data set that all trials of a machine share, and
    torch lets anybody write to it: they stay in here, and only copies get out.

    Args:
        poses: All poses of the split as clips of one frame, sequence after sequence, on one
            device; never written.
        action_names: Base actions of the whole data set, by their index.
        sequence_names: Sequences of the whole data set, by their index.
    """

    def __init__(
        self, poses: Poses, *, action_names: tuple[str, ...], sequence_names: tuple[str, ...]
    ) -> None:
        self._poses = poses
        self._borders: tuple[Tensor, Tensor] | None = None
        self.action_names = action_names
        self.sequence_names = sequence_names

    def __len__(self) -> int:
        return len(self._poses.x)

    @property
    def device(self) -> torch.device:
        """Where the poses are."""
        return self._poses.x.device

    @property
    def num_actions(self) -> int:
        """Base actions of the whole data set."""
        return len(self.action_names)

    @property
    def num_sequences(self) -> int:
        """Sequences of the whole data set."""
        return len(self.sequence_names)

    @property
    def frame_step(self) -> int:
        """Distance of the numbers of consecutive frames: more than 1 in thinned data."""
        same = self._poses.sequence.diff() == 0
        steps = self._poses.frame.diff()[same]
        return int(steps.min()) if len(steps) else 1

    def scored(self) -> Tensor:
        """Positions of the poses that are scored, on the CPU, int64."""
        return self._poses.valid.nonzero().squeeze(1).cpu()

    def gather(self, index: Tensor) -> Poses:
        """Copy poses.

        Args:
            index: Which, (B,), int64, on the split's device.
        """
        return Poses(*(values[index] for values in self._poses))

    def gather_clips(self, index: Tensor, frames: int) -> Poses:
        """Copy clips of consecutive frames around poses.

        Args:
            index: The middle frames (of an even number, the one before the middle), (B,),
                int64, on the split's device.
            frames: Frames T; beyond an end of the sequence its last frame there is repeated.

        Returns:
            x (B, T, J, 2), y (B, T, J, 3); the other fields are the middle frame's.
        """
        if frames == 1:
            return self.gather(index)
        window = self.clip_index(index, frames)
        x, y, *facts = self._poses
        return Poses(x[window, 0], y[window, 0], *(values[index] for values in facts))

    def clip_index(self, index: Tensor, frames: int) -> Tensor:
        """Positions in the split of the frames of clips, (B,) to (B, T); see `gather_clips`."""
        first, last = self._sequence_borders()
        offsets = torch.arange(frames, device=self.device) - (frames - 1) // 2
        window = index[:, None] + offsets
        return torch.minimum(torch.maximum(window, first[index][:, None]), last[index][:, None])

    def _sequence_borders(self) -> tuple[Tensor, Tensor]:
        """Positions of the first and the last frame of each pose's sequence, (N,) each."""
        if self._borders is None:
            _, run, lengths = torch.unique_consecutive(
                self._poses.sequence, return_inverse=True, return_counts=True
            )
            ends = lengths.cumsum(0)
            self._borders = (ends - lengths)[run], (ends - 1)[run]
        return self._borders

    def batches(self, size: int) -> Iterator[Poses]:
        """Copies of all poses in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield Poses(*(values[start : start + size].clone() for values in self._poses))

    def evenly(self, count: int | None) -> DeviceSplit:
        """At most `count` poses, evenly spaced; all for None."""
        size = len(self)
        if count is None or count >= size:
            return self
        index = torch.arange(count, device=self.device) * size // count
        return DeviceSplit(
            self.gather(index),
            action_names=self.action_names,
            sequence_names=self.sequence_names,
        )


def load_split(
    dataset: PoseDataset,
    name: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    limit: int | None = None,
) -> DeviceSplit:
    """Bring a split to the device; on a CPU, in the arrays' own type, no pose is copied.

    Args:
        dataset: Where it comes from; its arrays are never written.
        name: Name of the split.
        device: Where to.
        dtype: Floating-point type of the poses.
        limit: At most so many poses, evenly spaced; only these are copied. None for all.

    Returns:
        The split.

    Raises:
        DataError: If the data set has no such split, or it is empty.
    """
    split = require_split(dataset, name)
    actions = sorted({sequence.base_action for sequence in dataset.sequences})
    of_sequence = np.asarray([actions.index(info.base_action) for info in dataset.sequences])
    x, y, sequence, frame, valid = _evenly(split, limit)
    poses = Poses(
        x=_wrap(x).to(device, dtype).unsqueeze(1),
        y=_wrap(y).to(device, dtype).unsqueeze(1),
        action=_wrap(of_sequence[sequence]).to(device, torch.int64),
        sequence=_wrap(sequence).to(device, torch.int64),
        frame=_wrap(frame).to(device, torch.int64),
        valid=_wrap(valid).to(device),
    )
    return DeviceSplit(
        poses,
        action_names=tuple(actions),
        sequence_names=tuple(f"{s.subject} {s.action} {s.view}" for s in dataset.sequences),
    )


def require_split(dataset: PoseDataset, name: str) -> PoseSplit:
    """A split that has poses.

    Raises:
        DataError: If the data set has no such split, or it is empty.
    """
    split = dataset.splits.get(name)
    if split is None or len(split) == 0:
        raise DataError(
            f"data set {dataset.name!r} has no poses in split {name!r}; "
            f"it has {', '.join(sorted(dataset.splits)) or 'no splits'}"
        )
    return split


def _evenly(split: PoseSplit, limit: int | None) -> tuple[NDArray[Any], ...]:
    """The split's arrays but its root positions; copied only if they are thinned."""
    size = len(split)
    valid = np.ones(size, np.bool_) if split.valid is None else split.valid
    arrays = (split.x, split.y, split.sequence, split.frame, valid)
    if limit is None or limit >= size:
        return arrays
    index = np.arange(limit, dtype=np.int64) * size // limit
    return tuple(array[index] for array in arrays)


def _wrap(array: NDArray[Any]) -> Tensor:
    """The array's own memory as a tensor, read-only or not: never write to the result."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
