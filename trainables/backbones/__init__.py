"""Pose-nets F_φ: 2D poses (B, T, J, 2) to root-relative 3D poses in metres (B, T', J, 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from trainables.backbones.simplebaseline import SimpleBaseline
from trainables.backbones.videopose import VideoPose
from trainables.config import BackboneName

__all__ = ["BACKBONES", "BackboneEntry", "SimpleBaseline", "VideoPose"]


@dataclass(frozen=True)
class BackboneEntry:
    """What is known of a pose-net.

    Attributes:
        name: Its name in configurations.
        build: Its constructor; takes `num_joints` and the configuration's options.
        frames: Frames T of its input window.
        parameters: Parameters of the paper's size, by number of joints J.
        paper_batch_size: Batch size of the paper on Human3.6M and 3DHP (A.2.1).
        paper_epochs: Epochs of the paper on Human3.6M and 3DHP (A.2.1).
        description: One line for people.
    """

    name: BackboneName
    build: Callable[..., nn.Module]
    frames: int
    parameters: Mapping[int, int]
    paper_batch_size: int
    paper_epochs: int
    description: str


BACKBONES: Mapping[BackboneName, BackboneEntry] = MappingProxyType(
    {
        "videopose": BackboneEntry(
            name="videopose",
            build=VideoPose,
            frames=1,
            parameters=MappingProxyType({17: 4_291_635, 133: 4_885_903}),
            paper_batch_size=1024,
            paper_epochs=50,
            description="VideoPose3D (Pavllo et al., CVPR 2019) with widths 1,1,1: single frame",
        ),
        "simplebaseline": BackboneEntry(
            name="simplebaseline",
            build=SimpleBaseline,
            frames=1,
            parameters=MappingProxyType({17: 4_296_755, 133: 4_891_023}),
            paper_batch_size=1024,
            paper_epochs=50,
            description="SimpleBaseline (Martinez et al., ICCV 2017): residual MLP, single frame",
        ),
    }
)
"""All pose-nets by name."""
