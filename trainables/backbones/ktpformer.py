"""KTPFormer (Peng et al., CVPR 2024): MixSTE behind learnable graphs of joints and of frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._alternating import across_frames, across_joints
from trainables.backbones._inputs import check_clips
from trainables.backbones._transformer import Block, check_sizes, drop_path_rates
from trainables.skeletons import Skeleton
from trainables.windows import Window

__all__ = ["KTPFormer", "neighbour_table"]


class KTPFormer(nn.Module):
    """Alternating blocks over joints and over frames, the first of each behind a prior graph.

    The deterministic net, as released. Its graph of the joints (kinematics prior, KPA) is the
    embedding of the input; that of the frames (trajectory prior, TPA) comes before the first
    block over frames. With more input channels and a shift it is the denoiser of the diffusion
    version, whose code was not released: see `lift`.

    Args:
        skeleton: Its segments are the joints' graph; its joints are in and out.
        frames: Frames T, in and out.
        width: Channels C.
        depth: Pairs of blocks after the first pair.
        heads: Heads of the attention.
        mlp_ratio: Hidden channels of the perceptrons by C.
        drop_path: Rate of stochastic depth of the last pair; it falls evenly to 0 of the first.
        input_channels: Channels of a joint in.
        output_scale: Metres for 1 in the last layer's output.

    Raises:
        ValueError: If the heads do not divide the width, or a size is not positive.
    """

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        frames: int = 243,
        width: int = 512,
        depth: int = 7,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        input_channels: int = 2,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_sizes(frames=frames, width=width, heads=heads)
        if depth < 0:
            raise ValueError(f"depth must not be negative, got {depth}")
        self.num_joints = joints = skeleton.num_joints
        self.window = Window(frames, "all")
        self.output_scale = output_scale
        skeleton_table = neighbour_table(joints, skeleton.segments)
        chain_table = neighbour_table(frames, itertools.pairwise(range(frames)))
        self.kpa = _GraphUnit(input_channels, width, skeleton_table)
        self.tpa1 = _GraphUnit(width, width, chain_table)
        self.tpa2 = _GraphUnit(width, width, chain_table)
        self.spatial_pos_embed = nn.Parameter(torch.zeros(1, joints, width))
        self.temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, width))

        def block(rate: float = 0.0, attention_eps: float | None = None) -> Block:
            return Block(
                width,
                heads,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
                attention_eps=attention_eps,
            )

        rates = drop_path_rates(drop_path, depth + 1)[1:]
        self.spatial_blocks = nn.ModuleList([block(0.0, 1e-5), *(block(p) for p in rates)])
        self.temporal_blocks = nn.ModuleList([block(0.0, 1e-5), *(block(p) for p in rates)])
        self.spatial_norm = nn.LayerNorm(width, eps=1e-6)
        self.temporal_norm = nn.LayerNorm(width, eps=1e-6)
        self.head_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)

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
        return self.lift(x)

    def lift(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Lift clips of joints with any features.

        Args:
            x: Features of the joints, (B, T, J, input_channels); of the diffusion version the 2D
                and the noisy 3D pose.
            shift: Added to every token with the joints' table, (B, C): a time step's embedding.

        Returns:
            Root-relative joints, metres, (B, T, J, 3).
        """
        # out of place: the release adds into a ReLU's output, which autograd rejects
        h = across_joints(self.kpa, x) + self.spatial_pos_embed
        if shift is not None:
            h = h + shift[:, None, None]
        pairs = zip(self.spatial_blocks, self.temporal_blocks, strict=True)
        for index, (spatial, temporal) in enumerate(pairs):
            h = self.spatial_norm(across_joints(spatial, h))
            if index == 0:
                h = h + across_frames(self._trajectory_prior, h)
                h = h + self.temporal_pos_embed.unsqueeze(2)  # (1, T, 1, C)
            h = self.temporal_norm(across_frames(temporal, h))
        return self.head(self.head_norm(h)) * self.output_scale  # type: ignore[no-any-return]

    def _trajectory_prior(self, h: Tensor) -> Tensor:
        """Both graph units over the frames, (B·J, T, C) to the same."""
        return self.tpa2(self.tpa1(h))  # type: ignore[no-any-return] # modules return Any


class _GraphUnit(nn.Module):
    """Graph convolution, batch norm over channels, ReLU; (N, L, in) to (N, L, out)."""

    def __init__(self, inputs: int, outputs: int, table: Tensor) -> None:
        super().__init__()
        self.gconv = _LearnableGraphConv(inputs, outputs, table)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, h: Tensor) -> Tensor:
        h = self.gconv(h)
        return F.relu(self.bn(h.flatten(0, 1))).view_as(h)


class _LearnableGraphConv(nn.Module):
    """diag(A)·(M⊙XW₀) + (A - diag(A))·(M⊙XW₁) + b, A the symmetric part of a table plus Q."""

    table: Tensor

    def __init__(self, inputs: int, outputs: int, table: Tensor) -> None:
        super().__init__()
        nodes = len(table)
        self.W = nn.Parameter(torch.empty(2, inputs, outputs))
        self.M = nn.Parameter(torch.ones(nodes, outputs))
        self.Q = nn.Parameter(torch.full((nodes, nodes), 1e-6))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.register_buffer("table", table, persistent=False)
        # on the whole 3-D tensor, whose fans are in·out and 2·out, as the official code does
        nn.init.xavier_uniform_(self.W, gain=1.414)
        nn.init.uniform_(self.bias, -1 / math.sqrt(outputs), 1 / math.sqrt(outputs))

    def forward(self, h: Tensor) -> Tensor:
        graph = self.table + self.Q
        graph = (graph + graph.T) / 2
        diagonal = graph.diagonal()
        own = (diagonal.unsqueeze(1) * self.M) * (h @ self.W[0])
        others = (graph - diagonal.diag()) @ (self.M * (h @ self.W[1]))
        return own + others + self.bias


def neighbour_table(nodes: int, edges: Iterable[tuple[int, int]]) -> Tensor:
    """Graph whose row i has 1 at i, and 1 over their number at its neighbours; (nodes, nodes)."""
    table = torch.zeros(nodes, nodes)
    for a, b in edges:
        table[a, b] = table[b, a] = 1
    table /= table.sum(dim=1, keepdim=True).clamp(min=1)
    return table.fill_diagonal_(1)
