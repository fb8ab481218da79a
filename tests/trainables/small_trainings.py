"""Trainings of seconds, and what they result in: for tests of whether a field matters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from tests.trainables.seal.conftest import SMALL_NETS, synthetic_split
from trainables.config import BackboneName, TrainingConfig
from trainables.data.dataset import Camera, PoseDataset, SequenceInfo
from trainables.seal.trainer import SealTrainer
from trainables.skeletons import H36M_17

__all__ = [
    "BASE",
    "DATASET",
    "NO_LOSS_NET",
    "PARTS",
    "SMALL_BACKBONES",
    "Fields",
    "configuration",
    "differ",
    "of_backbone",
    "train",
]

CPU = torch.device("cpu")

Fields = Mapping[str, Any]

PARTS = ("data", "pretraining")
"""Parts of a configuration that have fields of their own."""

BASE: Fields = {
    "backbone": "videopose",
    "backbone_options": {"channels": 16},
    "loss_net": "mlp",
    "loss_net_options": SMALL_NETS["mlp"],
    "lr_p": 1e-3,
    "lr_l": 1e-3,
    "alpha": 0.05,
    "batch_size": 16,
    "epochs": 2,
}
NO_LOSS_NET: Fields = {"loss_net": "none", "loss_net_options": {}, "lr_l": None, "alpha": 0.0}
_SMALL: Fields = {"frames": 3, "width": 8, "heads": 2, "depth": 2}
SMALL_BACKBONES: Mapping[BackboneName, Fields] = {
    "videopose": {"channels": 16},
    "simplebaseline": {"channels": 16},
    "semgcn": {"channels": 8, "stages": 1},
    "mixste": _SMALL,
    "pstmo": {**_SMALL, "hidden": 8, "depth": 1, "output_scale": 1.0},
    "poseformerv2": {**_SMALL, "frames": 5},
    "d3dp": _SMALL,
    "ktpformer": _SMALL,
    "motionagformer": {**_SMALL, "head_width": 8},
}


def of_backbone(name: BackboneName, **options: Any) -> dict[str, Any]:
    """Fields that train the small net, with other options, on clips of its window."""
    merged = {**SMALL_BACKBONES[name], **options}
    fields = {"backbone": name, "backbone_options": merged}
    return fields | ({"data": {"frames": merged["frames"]}} if "frames" in merged else {})


def small_dataset() -> PoseDataset:
    """50 learnable poses in front of one camera."""
    rng = np.random.default_rng(0)
    camera = Camera(width=1000, height=1000, focal=(1000.0, 1000.0), center=(500.0, 500.0))
    splits = {}
    for name, poses in {"train": 50, "val": 21, "test": 30}.items():
        root = np.tile(np.array([0.0, 0.0, 4.0], np.float32), (poses, 1))
        splits[name] = dataclasses.replace(synthetic_split(rng, poses), root=root)
    sequences = tuple(
        SequenceInfo("S1", action, action, "front", None, fps=50.0, camera=camera)
        for action in ("walk", "run", "sit")
    )
    return PoseDataset("small", H36M_17, sequences, splits)


DATASET = small_dataset()


def configuration(fields: Fields) -> TrainingConfig:
    """The base with other values; `data.x` is a field of the part `data`."""
    merged: dict[str, Any] = {**BASE, **{k: v for k, v in fields.items() if "." not in k}}
    for name, value in fields.items():
        part, dot, inner = name.partition(".")
        if dot:
            merged[part] = {**merged.get(part, {}), inner: value}
    return TrainingConfig.model_validate(merged)


def train(config: TrainingConfig, dataset: PoseDataset = DATASET) -> tuple[torch.Tensor, float]:
    """All parameters after the training, and the last epoch's objective."""
    torch.set_num_threads(1)
    trainer = SealTrainer(config, dataset, device=CPU)
    for _ in range(config.epochs):
        figures = trainer.run_epoch()
    nets = [net for net in (trainer.pose_net, trainer.loss_net) if net is not None]
    parameters = [p.detach().flatten() for net in nets for p in net.parameters()]
    return torch.cat(parameters), figures["val_mpjpe_mm"]


def differ(first: TrainingConfig, second: TrainingConfig) -> bool:
    return not torch.equal(train(first)[0], train(second)[0])
