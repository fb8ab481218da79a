"""Human3.6M without the neck."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.data.reduction import leave_out_neck
from trainables.errors import DataError
from trainables.skeletons import H36M_16, MPI_INF_3DHP_17


def test_sixteen_joints_are_the_seventeen_without_the_neck() -> None:
    whole = load_dataset(DataConfig(stride=20))
    reduced = load_dataset(DataConfig(stride=20, joints=16))
    assert reduced.skeleton is H36M_16
    assert reduced.content_hash() != whole.content_hash()
    for name, split in whole.splits.items():
        less = reduced.splits[name]
        assert np.array_equal(less.x, np.delete(split.x, 9, axis=1))
        assert np.array_equal(less.y, np.delete(split.y, 9, axis=1))
        assert np.array_equal(less.frame, split.frame)


def test_another_skeleton_is_refused() -> None:
    other = dataclasses.replace(load_dataset(DataConfig(stride=50)), skeleton=MPI_INF_3DHP_17)
    with pytest.raises(DataError, match=r"data\.joints=16 .* has mpi_inf_3dhp_17"):
        leave_out_neck(other)
