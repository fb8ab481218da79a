"""Every pose-net at a small size, with all of its randomness, and clips for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.backbones import BACKBONES
from trainables.config import BackboneName, TrainingConfig
from trainables.skeletons import H36M_17

FRAMES = 9
_CLIPS = {"frames": FRAMES, "width": 16, "heads": 2}
RANDOM_NETS: Mapping[BackboneName, Mapping[str, Any]] = {
    "videopose": {"channels": 16},
    "simplebaseline": {"channels": 16},
    "semgcn": {"channels": 8, "stages": 2, "dropout": 0.3},
    "mixste": {**_CLIPS, "depth": 2, "drop_path": 0.5},
    "pstmo": {**_CLIPS, "hidden": 32, "depth": 2, "dropout": 0.3},
    "poseformerv2": {**_CLIPS, "depth": 2, "drop_path": 0.5},
    "d3dp": {**_CLIPS, "depth": 2, "drop_path": 0.5},
    "ktpformer": {**_CLIPS, "depth": 1, "drop_path": 0.5},
    "motionagformer": {**_CLIPS, "head_width": 32, "depth": 3, "drop_path": 0.5},
}


def frames_of(name: BackboneName) -> int:
    return 1 if BACKBONES[name].recipe.single_frame else FRAMES


def configuration(name: BackboneName, **fields: Any) -> TrainingConfig:
    """A training of the small net, with its authors' loss; with a loss-net unless α is 0."""
    energy: dict[str, Any] = {
        "loss_net": "mlp",
        "loss_net_options": {"hidden": 16},
        "lr_l": 1e-3,
        "alpha": 0.3,
    }
    return TrainingConfig(
        **{
            "backbone": name,
            "backbone_options": RANDOM_NETS[name],
            "lr_p": 1e-3,
            "pose_loss": "backbone",
            "data": {"frames": frames_of(name)},
            **(energy if fields.get("loss_net") != "none" else {}),
            **fields,
        }
    )


def clips(
    count: int, frames: int, dtype: torch.dtype = torch.float64, *, seed: int = 5
) -> tuple[Tensor, Tensor]:
    """Random 2D and root-relative 3D poses."""
    stream = torch.Generator().manual_seed(seed)
    x, y = (
        torch.randn(count, frames, H36M_17.num_joints, size, generator=stream, dtype=torch.float64)
        for size in (2, 3)
    )
    return (0.3 * x).to(dtype), (0.4 * y).to(dtype)


def gradients(net: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
