"""Pose-nets F_φ: 2D poses (B, T, J, 2) to root-relative 3D poses in metres (B, T', J, 3)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from trainables.backbones.d3dp import D3DP
from trainables.backbones.ktpformer import KTPFormer
from trainables.backbones.mixste import MixSTE
from trainables.backbones.motionagformer import MotionAGFormer
from trainables.backbones.poseformerv2 import PoseFormerV2
from trainables.backbones.pstmo import PSTMO
from trainables.backbones.recipes import RECIPES, Recipe
from trainables.backbones.semgcn import SemGCN
from trainables.backbones.simplebaseline import SimpleBaseline
from trainables.backbones.videopose import VideoPose
from trainables.config import BackboneName, OfficialLossName
from trainables.skeletons import H36M_16, H36M_17, Skeleton

__all__ = [
    "BACKBONES",
    "D3DP",
    "PSTMO",
    "BackboneEntry",
    "KTPFormer",
    "MixSTE",
    "MotionAGFormer",
    "PoseFormerV2",
    "SemGCN",
    "SimpleBaseline",
    "VideoPose",
]


@dataclass(frozen=True)
class BackboneEntry:
    """What is known of a pose-net.

    Attributes:
        name: Its name in configurations.
        build: Its constructor; takes `joint_arguments` and the configuration's options.
        frames: Frames T of its input window.
        parameters: Parameters of the paper's size, by number of joints J.
        official_pose_loss: Loss that its own authors train it with.
        description: One line for people.
        variants: Other forms of the net that its authors report: skeleton and options.
    """

    name: BackboneName
    build: Callable[..., nn.Module]
    frames: int
    parameters: Mapping[int, int]
    official_pose_loss: OfficialLossName
    description: str
    variants: tuple[tuple[Skeleton, Mapping[str, Any]], ...] = ()

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return RECIPES[self.name]

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
            description="VideoPose3D (Pavllo et al., CVPR 2019) with widths 1,1,1: single frame",
            variants=(
                (H36M_17, {"widths": (1, 1, 1, 1)}),
                (H36M_17, {"widths": (1, 1, 1, 1, 1)}),
                (H36M_17, {"widths": (3, 3, 3)}),
                (H36M_17, {"widths": (3, 3, 3, 3, 3)}),
            ),
        ),
        "simplebaseline": BackboneEntry(
            name="simplebaseline",
            build=SimpleBaseline,
            frames=1,
            parameters=MappingProxyType({17: 4_296_755, 133: 4_891_023}),
            official_pose_loss="mse",
            description="SimpleBaseline (Martinez et al., ICCV 2017): residual MLP, single frame",
            variants=((H36M_16, {}),),
        ),
        "semgcn": BackboneEntry(
            name="semgcn",
            build=SemGCN,
            frames=1,
            parameters=MappingProxyType({17: 267_373, 133: 270_853}),
            official_pose_loss="mse",
            description="SemGCN (Zhao et al., CVPR 2019): graph convolutions, single frame",
            variants=((H36M_16, {}), (H36M_16, {"non_local": True})),
        ),
        "mixste": BackboneEntry(
            name="mixste",
            build=MixSTE,
            frames=243,
            parameters=MappingProxyType({17: 33_783_811}),
            official_pose_loss="mixste",
            description="MixSTE (Zhang et al., CVPR 2022): transformer, all frames of a clip",
            variants=((H36M_17, {"frames": 81}), (H36M_17, {"frames": 27})),
        ),
        "pstmo": BackboneEntry(
            name="pstmo",
            build=PSTMO,
            frames=81,
            parameters=MappingProxyType({17: 5_527_142, 133: 5_824_798}),
            official_pose_loss="pstmo",
            description="P-STMO-S (Shan et al., ECCV 2022): transformer, middle frame",
            variants=(
                (H36M_17, {"frames": 243}),
                (H36M_17, {"frames": 27}),
                (H36M_17, {"frames": 243, "depth": 4}),
            ),
        ),
        "poseformerv2": BackboneEntry(
            name="poseformerv2",
            build=PoseFormerV2,
            frames=27,
            parameters=MappingProxyType({17: 14_355_739}),
            official_pose_loss="mpjpe",
            description="PoseFormerV2 (Zhao et al., CVPR 2023): DCT of the window, middle frame",
            variants=(
                (H36M_17, {"kept_frames": 1}),
                (H36M_17, {"frames": 81, "kept_frames": 9, "kept_coefficients": 9}),
                (H36M_17, {"frames": 243, "kept_frames": 27, "kept_coefficients": 27}),
            ),
        ),
        "d3dp": BackboneEntry(
            name="d3dp",
            build=D3DP,
            frames=243,
            parameters=MappingProxyType({17: 34_835_459}),
            official_pose_loss="mpjpe",
            description="D3DP (Shan et al., ICCV 2023): diffusion, all frames of a clip",
            variants=(
                (H36M_17, {"frames": 81}),
                (H36M_17, {"frames": 27}),
                (H36M_17, {"denoiser": "ktpformer"}),
            ),
        ),
        "ktpformer": BackboneEntry(
            name="ktpformer",
            build=KTPFormer,
            frames=243,
            parameters=MappingProxyType({17: 35_213_430, 133: 35_349_614}),
            official_pose_loss="mixste",
            description="KTPFormer (Peng et al., CVPR 2024): graph priors, all frames of a clip",
            variants=((H36M_17, {"frames": 81}), (H36M_17, {"frames": 27})),
        ),
        "motionagformer": BackboneEntry(
            name="motionagformer",
            build=MotionAGFormer,
            frames=81,
            parameters=MappingProxyType({17: 18_998_687, 133: 19_019_567}),
            official_pose_loss="motionagformer",
            description="MotionAGFormer-L (Mehraban et al., WACV 2024): all frames of a clip",
            variants=(
                (H36M_17, {"frames": 243}),
                (H36M_17, {"frames": 27}),
                (H36M_17, {"depth": 16}),
                (H36M_17, {"width": 64}),
                (H36M_17, {"width": 64, "depth": 12, "frames": 27}),
            ),
        ),
    }
)
"""All pose-nets by name."""
