"""A small synthetic data set and small configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.skeletons import H36M_17

ACTIONS = ("walk", "run", "walk 1")

SMALL_NETS: dict[str, dict[str, Any]] = {
    "none": {},
    "graph": {"width": 16, "depth": 2, "heads": 4, "joint_dim": 6},
    "mlp": {"hidden": 24},
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Nets this small gain nothing from threads, and lose much to those of other processes."""
    torch.set_num_threads(1)


def synthetic_split(rng: np.random.Generator, poses: int) -> PoseSplit:
    """Learnable: the first two coordinates of y are a multiple of x, the third a product."""
    x = 0.3 * rng.standard_normal((poses, 17, 2))
    y = np.concatenate([1.5 * x, 3.0 * x[..., :1] * x[..., 1:]], axis=-1)
    return PoseSplit(
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        root=None,
        sequence=(np.arange(poses) * len(ACTIONS) // poses).astype(np.int32),
        frame=np.arange(poses, dtype=np.int32),
    )


@pytest.fixture(scope="session")
def tiny_dataset() -> PoseDataset:
    """50 training poses; its arrays are read-only, as in shared memory."""
    rng = np.random.default_rng(0)
    splits = {
        name: synthetic_split(rng, poses)
        for name, poses in {"train": 50, "val": 21, "test": 30}.items()
    }
    for split in splits.values():
        for array in (split.x, split.y, split.sequence, split.frame):
            array.flags.writeable = False
    return PoseDataset(
        name="tiny",
        skeleton=H36M_17,
        sequences=tuple(
            SequenceInfo(
                subject="S1",
                action=action,
                base_action=action.split(" ")[0],
                view="front",
                source=None,
                fps=50.0,
            )
            for action in ACTIONS
        ),
        splits=splits,
    )


@pytest.fixture
def make_config() -> Callable[..., TrainingConfig]:
    """Configurations of small nets; arguments replace or add fields."""

    def make(**fields: Any) -> TrainingConfig:
        loss_net = fields.get("loss_net", "graph")
        defaults: dict[str, Any] = {
            "backbone": "videopose",
            "backbone_options": {"channels": 32},
            "loss_net": loss_net,
            "loss_net_options": SMALL_NETS[loss_net],
            "lr_p": 1e-3,
            "batch_size": 16,
            "epochs": 3,
        }
        if loss_net != "none":
            defaults |= {"lr_l": 1e-3, "alpha": 0.05}
        return TrainingConfig(**{**defaults, **fields})

    return make
