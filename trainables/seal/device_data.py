"""A split as tensors on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.dataset import PoseDataset
from trainables.errors import DataError

__all__ = ["DeviceSplit", "load_split"]


@dataclass(frozen=True)
class DeviceSplit:
    """Poses of a split, each a clip of one frame.

    Attributes:
        x: Normalised screen coordinates, (N, 1, J, 2).
        y: Root-relative joints, metres, (N, 1, J, 3).
        action: Index of the action of each pose, (N,), int64.
        num_actions: Actions of the whole data set.
    """

    x: Tensor
    y: Tensor
    action: Tensor
    num_actions: int

    def __len__(self) -> int:
        return len(self.x)

    def evenly(self, count: int | None) -> DeviceSplit:
        """At most `count` poses, evenly spaced; all for None."""
        size = len(self)
        if count is None or count >= size:
            return self
        index = torch.arange(count, device=self.x.device) * size // count
        return DeviceSplit(self.x[index], self.y[index], self.action[index], self.num_actions)


def load_split(
    dataset: PoseDataset, name: str, *, device: torch.device, dtype: torch.dtype
) -> DeviceSplit:
    """Copy a split to the device.

    The data set's arrays may be shared by all trials of a machine, and torch ignores that they
    are read-only: nothing but this copy is ever handed to torch.

    Raises:
        DataError: If the data set has no such split, or it is empty.
    """
    split = dataset.splits.get(name)
    if split is None or len(split) == 0:
        raise DataError(
            f"data set {dataset.name!r} has no poses in split {name!r}; "
            f"it has {', '.join(sorted(dataset.splits)) or 'no splits'}"
        )
    actions = sorted({sequence.action for sequence in dataset.sequences})
    of_sequence = torch.tensor([actions.index(sequence.action) for sequence in dataset.sequences])
    action = of_sequence[torch.tensor(split.sequence, dtype=torch.int64)]
    return DeviceSplit(
        x=torch.tensor(split.x, dtype=dtype, device=device).unsqueeze(1),
        y=torch.tensor(split.y, dtype=dtype, device=device).unsqueeze(1),
        action=action.to(device),
        num_actions=len(actions),
    )
