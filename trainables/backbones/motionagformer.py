"""MotionAGFormer (Mehraban et al., WACV 2024): attention and graph convolutions side by side."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._alternating import across_frames, across_joints
from trainables.backbones._inputs import check_clips
from trainables.backbones._transformer import MLP, Attention, DropPath, check_sizes
from trainables.skeletons import Skeleton
from trainables.windows import Window

__all__ = ["JointGraph", "MotionAGFormer", "joint_graph"]

JointGraph: TypeAlias = Literal["tree", "official", "symmetrised"]
"""Neighbours of a joint: the skeleton's own, the release's, or the release's both ways."""

# The release's neighbours of each joint: Human3.6M's 17 joints, whatever the data have. The
# thorax and the hip do not see 4, 11 and 14, which see them; its authors acknowledge that.
_OFFICIAL_NEIGHBOURS = (
    *((1, 7), (0, 2), (1, 3), (2,), (0, 5), (4, 6), (5,), (0, 8), (7, 9), (8, 10), (9,)),
    *((8, 12), (11, 13), (12,), (8, 15), (14, 16), (15,)),
)


class MotionAGFormer(nn.Module):
    """Layers of two streams, each over joints and then over frames, joined by a gate per token.

    The defaults are MotionAGFormer-L. The official code, as the others of its family, has a
    third input channel, the detector's confidence; known 2D have 1 there.

    Args:
        skeleton: Its joints, in and out; its segments are the graph, unless `graph` says else.
        frames: Frames T, in and out.
        depth: Layers.
        width: Channels C.
        head_width: Channels between the last layer and the coordinates.
        heads: Heads of the attention.
        mlp_ratio: Hidden channels of the perceptrons by C.
        neighbours: Frames that a joint's frame is joined to, the most similar; itself is one.
        graph: Neighbours of the joints. `tree`: the skeleton's segments, both ways. `official`:
            as released, Human3.6M's order for every skeleton, and three segments one way only;
            for the authors' checkpoints. `symmetrised`: these, both ways.
        drop_path: Rate of stochastic depth in every branch; officially none.
        confidence: Whether there is the third input channel, which is 1.
        output_scale: Metres for 1 in the last layer's output. The official target is millimetres
            divided by 1024, so that the official code's own output is that of 1.

    Raises:
        ValueError: If the skeleton does not have the official graph's joints, or sizes do not fit.
    """

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        frames: int = 81,
        depth: int = 26,
        width: int = 128,
        head_width: int = 512,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        neighbours: int = 2,
        graph: JointGraph = "tree",
        drop_path: float = 0.0,
        confidence: bool = True,
        output_scale: float = 1.024,
    ) -> None:
        super().__init__()
        check_sizes(frames=frames, depth=depth, width=width, head_width=head_width, heads=heads)
        if not 1 <= neighbours <= frames:
            raise ValueError(f"neighbours must be 1 to {frames} frames, got {neighbours}")
        self.num_joints = skeleton.num_joints
        self.window = Window(frames, "all")
        self.confidence = confidence
        self.output_scale = output_scale
        self.joints_embed = nn.Linear(3 if confidence else 2, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_joints, width))
        adjacency = normalised(joint_graph(skeleton, graph))
        self.layers = nn.ModuleList(
            _Layer(
                adjacency,
                frames=frames,
                width=width,
                heads=heads,
                mlp_ratio=mlp_ratio,
                neighbours=neighbours,
                drop_path=drop_path,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.rep_logit = nn.Linear(width, head_width)
        self.head = nn.Linear(head_width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Lift clips of 2D poses.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).

        Returns:
            Root-relative joints, metres, (B, T, J, 3).

        Raises:
            ShapeError: If frames, joints or coordinates do not fit.
        """
        check_clips(x, self.num_joints, self.window.frames)
        if self.confidence:
            x = F.pad(x, (0, 1), value=1.0)
        h = self.joints_embed(x) + self.pos_embed
        for layer in self.layers:
            h = layer(h)
        h = torch.tanh(self.rep_logit(self.norm(h)))
        return self.head(h) * self.output_scale  # type: ignore[no-any-return] # modules return Any


class _Layer(nn.Module):
    """Both streams and their gate, (B, T, J, C) to (B, T, J, C); there is no outer skip."""

    def __init__(
        self,
        adjacency: Tensor,
        *,
        frames: int,
        width: int,
        heads: int,
        mlp_ratio: float,
        neighbours: int,
        drop_path: float,
    ) -> None:
        super().__init__()

        def mixing(mixer: nn.Module) -> _Mixing:
            return _Mixing(mixer, width, int(width * mlp_ratio), drop_path)

        self.att_spatial = mixing(Attention(width, heads, qkv_bias=False))
        self.att_temporal = mixing(Attention(width, heads, qkv_bias=False))
        self.graph_spatial = mixing(_JointConv(width, adjacency))
        self.graph_temporal = mixing(_FrameConv(width, frames, neighbours))
        self.fusion = nn.Linear(2 * width, 2)
        nn.init.zeros_(self.fusion.weight)
        nn.init.constant_(self.fusion.bias, 0.5)

    def forward(self, h: Tensor) -> Tensor:
        attended = across_frames(self.att_temporal, across_joints(self.att_spatial, h))
        convolved = across_frames(self.graph_temporal, across_joints(self.graph_spatial, h))
        gate = self.fusion(torch.cat([attended, convolved], dim=-1)).softmax(dim=-1)
        return gate[..., :1] * attended + gate[..., 1:] * convolved  # type: ignore[no-any-return]


class _Mixing(nn.Module):
    """Pre-norm block with layer scale around a mixer of a row's tokens, (N, L, C) to itself."""

    def __init__(self, mixer: nn.Module, width: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden)
        self.layer_scale_1 = nn.Parameter(torch.full((width,), 1e-5))
        self.layer_scale_2 = nn.Parameter(torch.full((width,), 1e-5))
        self.drop_path = DropPath(drop_path)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.drop_path(self.layer_scale_1 * self.mixer(self.norm1(h)))
        return h + self.drop_path(self.layer_scale_2 * self.mlp(self.norm2(h)))  # type: ignore[no-any-return]


class _GraphConv(nn.Module, ABC):
    """ReLU(x + BN(Â·V(x) + U(x))), (N, L, C) to (N, L, C); the norm has a channel per node."""

    def __init__(self, width: int, nodes: int) -> None:
        super().__init__()
        self.U = nn.Linear(width, width)
        self.V = nn.Linear(width, width)
        self.batch_norm = nn.BatchNorm1d(nodes)
        for layer in (self.U, self.V):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / width))

    def forward(self, h: Tensor) -> Tensor:
        mixed = self.adjacency_of(h) @ self.V(h) + self.U(h)
        return F.relu(h + self.batch_norm(mixed))

    @abstractmethod
    def adjacency_of(self, h: Tensor) -> Tensor:
        """Normalised adjacency, (L, L) or (N, L, L)."""


class _JointConv(_GraphConv):
    """Over the joints of a frame, whose graph is fixed."""

    adjacency: Tensor

    def __init__(self, width: int, adjacency: Tensor) -> None:
        super().__init__(width, len(adjacency))
        self.register_buffer("adjacency", adjacency, persistent=False)

    def adjacency_of(self, h: Tensor) -> Tensor:
        return self.adjacency.to(h.dtype)


class _FrameConv(_GraphConv):
    """Over the frames of a joint, each joined to those that are most similar now."""

    def __init__(self, width: int, frames: int, neighbours: int) -> None:
        super().__init__(width, frames)
        self.neighbours = neighbours

    @torch.no_grad()
    def adjacency_of(self, h: Tensor) -> Tensor:
        dtype = h.dtype
        with torch.autocast(h.device.type, enabled=False):  # rounding would make ties
            h = h.to(torch.promote_types(h.dtype, torch.float32))
            similarity = h @ h.transpose(1, 2)
        least = similarity.topk(self.neighbours, dim=-1).values[..., -1:]
        return normalised((similarity >= least).to(dtype))  # ties may add neighbours


def normalised(adjacency: Tensor) -> Tensor:
    """D^-½ A D^-½, D the sums of the rows; (..., L, L) to (..., L, L)."""
    scale = adjacency.sum(dim=-1).clamp(min=1).rsqrt()  # a joint may have no neighbour at all
    return scale.unsqueeze(-1) * adjacency * scale.unsqueeze(-2)


def joint_graph(skeleton: Skeleton, graph: JointGraph) -> Tensor:
    """Neighbours of each joint, 1 in row i and column j if i sees j; (J, J), no self-loops.

    Raises:
        ValueError: If there is no such graph, or it does not have the skeleton's joints.
    """
    if graph not in get_args(JointGraph):
        raise ValueError(f"graph must be one of {', '.join(get_args(JointGraph))}, got {graph!r}")
    joints = skeleton.num_joints
    adjacency = torch.zeros(joints, joints)
    if graph == "tree":
        pairs = list(skeleton.segments)
    elif joints == len(_OFFICIAL_NEIGHBOURS):
        pairs = [(i, j) for i, row in enumerate(_OFFICIAL_NEIGHBOURS) for j in row]
    else:
        raise ValueError(
            f"the {graph} graph has {len(_OFFICIAL_NEIGHBOURS)} joints, but {skeleton.name} has "
            f"{joints}; use graph=tree"
        )
    for i, j in pairs:
        adjacency[i, j] = 1
    return adjacency if graph == "official" else torch.maximum(adjacency, adjacency.T)
