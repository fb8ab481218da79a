"""Pose-nets F_φ: 2D poses (B, T, J, 2) to root-relative 3D poses in metres (B, T', J, 3)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from trainables.backbones.semgcn import SemGCN
from trainables.backbones.simplebaseline import SimpleBaseline
from trainables.backbones.videopose import VideoPose
from trainables.config import BackboneName, PoseLossName
from trainables.skeletons import H36M_16, Skeleton

__all__ = ["BACKBONES", "BackboneEntry", "SemGCN", "SimpleBaseline", "VideoPose"]


@dataclass(frozen=True)
class BackboneEntry:
    """What is known of a pose-net.

    Attributes:
        name: Its name in configurations.
        build: Its constructor; takes `joint_arguments` and the configuration's options.
        frames: Frames T of its input window.
        parameters: Parameters of the paper's size, by number of joints J.
        official_pose_loss: Loss that its own authors train it with.
        official_recipe: How its own authors train it, for people.
        description: One line for people.
        paper_batch_size: Batch size of the paper on Human3.6M and 3DHP (A.2.1).
        paper_epochs: Epochs of the paper on Human3.6M and 3DHP (A.2.1).
        paper_batch_size_h3wb: Batch size of the paper on H3WB (A.2.1).
        paper_epochs_h3wb: Epochs of the paper on H3WB (A.2.1).
        variants: Other forms of the net that its authors report: skeleton and options.
    """

    name: BackboneName
    build: Callable[..., nn.Module]
    frames: int
    parameters: Mapping[int, int]
    official_pose_loss: PoseLossName
    official_recipe: str
    description: str
    paper_batch_size: int = 1024
    paper_epochs: int = 50
    paper_batch_size_h3wb: int = 64
    paper_epochs_h3wb: int = 200
    variants: tuple[tuple[Skeleton, Mapping[str, Any]], ...] = ()

    def joint_arguments(self, skeleton: Skeleton) -> dict[str, Any]:
        """What the constructor takes of `num_joints` and `skeleton`."""
        offered = {"num_joints": skeleton.num_joints, "skeleton": skeleton}
        taken = inspect.signature(self.build).parameters
        return {name: value for name, value in offered.items() if name in taken}

    def count_parameters(self, skeleton: Skeleton, **options: Any) -> int:
        """Count the trainable parameters of the net as it is built, without its memory."""
        with torch.device("meta"):
            net = self.build(**self.joint_arguments(skeleton), **options)
        return sum(p.numel() for p in net.parameters() if p.requires_grad)


BACKBONES: Mapping[BackboneName, BackboneEntry] = MappingProxyType(
    {
        "videopose": BackboneEntry(
            name="videopose",
            build=VideoPose,
            frames=1,
            parameters=MappingProxyType({17: 4_291_635, 133: 4_885_903}),
            official_pose_loss="mpjpe",
            official_recipe="AMSGrad, 1e-3 × 0.95 per epoch, batch 1024, 60-80 epochs, flips",
            description="VideoPose3D (Pavllo et al., CVPR 2019) with widths 1,1,1: single frame",
        ),
        "simplebaseline": BackboneEntry(
            name="simplebaseline",
            build=SimpleBaseline,
            frames=1,
            parameters=MappingProxyType({17: 4_296_755, 133: 4_891_023}),
            official_pose_loss="mse",
            official_recipe="Adam, 1e-3 × 0.96 per 100k steps, batch 64, 200 epochs, clip 1",
            description="SimpleBaseline (Martinez et al., ICCV 2017): residual MLP, single frame",
        ),
        "semgcn": BackboneEntry(
            name="semgcn",
            build=SemGCN,
            frames=1,
            parameters=MappingProxyType({17: 267_373, 133: 270_853}),
            official_pose_loss="mse",
            official_recipe="Adam, 1e-3 × 0.96 per 100k steps, batch 64, 50 epochs, clip 1",
            description="SemGCN (Zhao et al., CVPR 2019): graph convolutions, single frame",
            variants=((H36M_16, {}), (H36M_16, {"non_local": True})),
        ),
    }
)
"""All pose-nets by name."""
