"""Alternating spatial and temporal blocks, what MixSTE and D3DP's denoiser have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainables.backbones._transformer import Block, check_sizes, drop_path_rates

__all__ = ["AlternatingBlocks", "across_frames", "across_joints"]


def across_joints(function: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """Apply a function of rows (B·T, J, C), whose tokens are joints, to (B, T, J, C)."""
    rows: Tensor = function(h.flatten(0, 1)).unflatten(0, h.shape[:2])
    return rows


def across_frames(function: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """Apply a function of rows (B·J, T, C), whose tokens are frames, to (B, T, J, C)."""
    tracks = h.transpose(1, 2)  # (B, J, T, C)
    rows: Tensor = function(tracks.flatten(0, 1)).unflatten(0, tracks.shape[:2])
    return rows.transpose(1, 2)


class AlternatingBlocks(nn.Module):
    """`depth` spatial and temporal blocks in turn, and the head: (B, T, J, C) to (B, T, J, 3).

    Both position tables start at zero and are added once, before the first spatial and the first
    temporal block. One layer norm follows every spatial block, another every temporal one.

    Args:
        num_joints: Joints J.
        frames: Frames T.
        width: Channels C.
        depth: Pairs of blocks.
        heads: Heads of each block, a divisor of C.
        mlp_ratio: Hidden channels of the blocks' MLPs by C.
        drop_path: Stochastic depth of the last pair; from 0 at the first it grows evenly.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        frames: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        check_sizes(frames=frames, width=width, depth=depth, heads=heads)
        self.spatial_table = nn.Parameter(torch.zeros(1, num_joints, width))
        self.temporal_table = nn.Parameter(torch.zeros(1, frames, width))
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList(
                Block(width, heads, mlp_ratio=mlp_ratio, drop_path=rate)
                for rate in drop_path_rates(drop_path, depth)
            )
            for _ in range(2)
        )
        self.spatial_norm = nn.LayerNorm(width, eps=1e-6)
        self.temporal_norm = nn.LayerNorm(width, eps=1e-6)
        self.head_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)

    def forward(self, h: Tensor) -> Tensor:
        """Map embedded poses (B, T, J, C) to (B, T, J, 3)."""
        h = h + self.spatial_table
        pairs = zip(self.spatial_blocks, self.temporal_blocks, strict=True)
        for index, (spatial, temporal) in enumerate(pairs):
            h = self.spatial_norm(across_joints(spatial, h))
            if index == 0:
                h = h + self.temporal_table.unsqueeze(2)  # (1, T, 1, C)
            h = self.temporal_norm(across_frames(temporal, h))
        return self.head(self.head_norm(h))  # type: ignore[no-any-return] # modules return Any
