"""A data set with fewer joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainables.data.dataset import PoseDataset
from trainables.errors import DataError
from trainables.skeletons import H36M_16, H36M_17

__all__ = ["leave_out_neck"]


def leave_out_neck(dataset: PoseDataset) -> PoseDataset:
    """Human3.6M's 16 joints of Martinez et al. and SemGCN, without the neck.

    Args:
        dataset: Poses of Human3.6M's 17 joints.

    Returns:
        The same poses of `H36M_16`.

    Raises:
        DataError: If the data set has another skeleton.
    """
    if dataset.skeleton != H36M_17:
        raise DataError(
            f"data.joints=16 leaves out the neck of {H36M_17.name}, but data set "
            f"{dataset.name!r} has {dataset.skeleton.name}; leave data.joints out"
        )
    kept = [H36M_17.joints.index(name) for name in H36M_16.joints]
    splits = {
        name: replace(
            split,
            x=np.ascontiguousarray(split.x[:, kept]),
            y=np.ascontiguousarray(split.y[:, kept]),
        )
        for name, split in dataset.splits.items()
    }
    return replace(dataset, skeleton=H36M_16, splits=splits)
