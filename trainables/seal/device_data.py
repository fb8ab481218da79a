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

__all__ = ["DeviceSplit", "Poses", "load_split"]


class Poses(NamedTuple):
    """Some poses, each a clip of one frame; copies, which may be written to.

    Attributes:
        x: Normalised screen coordinates, (B, 1, J, 2).
        y: Root-relative joints, metres, (B, 1, J, 3).
        action: Index of the action of each pose, (B,), int64.
    """

    x: Tensor
    y: Tensor
    action: Tensor


class DeviceSplit:
    """Poses of a split.

    On a CPU the tensors may be the memory of a data set that all trials of a machine share, and
    torch lets anybody write to it: they stay in here, and only copies get out.

    Args:
        poses: All poses of the split, on one device; never written.
        num_actions: Actions of the whole data set.
    """

    def __init__(self, poses: Poses, *, num_actions: int) -> None:
        self._poses = poses
        self.num_actions = num_actions

    def __len__(self) -> int:
        return len(self._poses.x)

    @property
    def device(self) -> torch.device:
        """Where the poses are."""
        return self._poses.x.device

    def gather(self, index: Tensor) -> Poses:
        """Copy poses.

        Args:
            index: Which, (B,), int64, on the split's device.
        """
        return Poses(*(values[index] for values in self._poses))

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
        return DeviceSplit(self.gather(index), num_actions=self.num_actions)


def load_split(
    dataset: PoseDataset,
    name: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    limit: int | None = None,
) -> DeviceSplit:
    """Bring a split to the device; on a CPU, in the arrays' own type, nothing is copied.

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
    split = dataset.splits.get(name)
    if split is None or len(split) == 0:
        raise DataError(
            f"data set {dataset.name!r} has no poses in split {name!r}; "
            f"it has {', '.join(sorted(dataset.splits)) or 'no splits'}"
        )
    actions = sorted({sequence.base_action for sequence in dataset.sequences})
    of_sequence = np.asarray([actions.index(info.base_action) for info in dataset.sequences])
    x, y, sequence = _evenly(split, limit)
    poses = Poses(
        x=_wrap(x).to(device, dtype).unsqueeze(1),
        y=_wrap(y).to(device, dtype).unsqueeze(1),
        action=_wrap(of_sequence[sequence]).to(device, torch.int64),
    )
    return DeviceSplit(poses, num_actions=len(actions))


def _evenly(split: PoseSplit, limit: int | None) -> tuple[NDArray[Any], ...]:
    """x, y and sequence numbers; copied only if they are thinned."""
    size, arrays = len(split), (split.x, split.y, split.sequence)
    if limit is None or limit >= size:
        return arrays
    index = np.arange(limit, dtype=np.int64) * size // limit
    return tuple(array[index] for array in arrays)


def _wrap(array: NDArray[Any]) -> Tensor:
    """The array's own memory as a tensor, read-only or not: never write to the result."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
