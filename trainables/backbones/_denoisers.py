"""Denoisers of D3DP: poses without noise, from the 2D, noisy poses, and the diffusion step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._alternating import AlternatingBlocks
from trainables.backbones.ktpformer import KTPFormer
from trainables.skeletons import Skeleton

__all__ = ["Denoiser", "KTPDenoiser", "TimedNet"]

_CHANNELS = 2 + 3  # of a joint: 2D and noisy 3D


class TimedNet(nn.Module):
    """Embeds the diffusion step of each clip: sines and cosines, and a perceptron of two layers.

    Args:
        width: Channels C, even.

    Raises:
        ValueError: If the width is out of range.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 4 or width % 2:
            raise ValueError(f"width must be even and at least 4, got {width}")
        self.time_expand = nn.Linear(width, 2 * width)
        self.time_shrink = nn.Linear(2 * width, width)
        half = width // 2
        frequencies = [math.exp(-i * math.log(10_000) / (half - 1)) for i in range(half)]
        self.register_buffer("frequencies", torch.tensor(frequencies), persistent=False)

    def embed_times(self, times: Tensor) -> Tensor:
        """Embed steps, (B,), int64, to (B, C)."""
        angles = times[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.time_expand.weight.dtype)
        return self.time_shrink(F.gelu(self.time_expand(waves)))  # type: ignore[no-any-return]


class Denoiser(TimedNet):
    """MixSTE on [2D; noisy 3D], told the diffusion step of each clip.

    Args:
        skeleton: Its joints are in and out.
        frames: Frames T.
        width: Channels C, even.
        depth: Pairs of a spatial and a temporal block.
        heads: Attention heads, a divisor of C.
        mlp_ratio: Hidden channels of the blocks' MLPs by C.
        drop_path: Stochastic depth of the last pair in training.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        frames: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__(width)
        self.embed = nn.Linear(_CHANNELS, width)
        self.blocks = AlternatingBlocks(
            num_joints=skeleton.num_joints,
            frames=frames,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )

    def forward(self, x: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Predict the poses without noise.

        Args:
            x: 2D poses, (B, T, J, 2).
            noisy: Noisy 3D poses, (B, T, J, 3).
            times: Diffusion step of each clip, (B,), int64.

        Returns:
            (B, T, J, 3).
        """
        h = self.embed(torch.cat([x, noisy], dim=-1)) + self.embed_times(times)[:, None, None]
        return self.blocks(h)  # type: ignore[no-any-return] # modules return Any


class KTPDenoiser(TimedNet):
    """KTPFormer in MixSTE's place: its graph of joints embeds [2D; noisy 3D].

    A reconstruction: KTPFormer's authors have released no code of their diffusion version. The
    step's embedding is added with the joints' table, as in `Denoiser`. Arguments and errors as
    there, but the skeleton's segments matter, and `depth` does not count the first pair.
    """

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        frames: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__(width)
        self.net = KTPFormer(
            skeleton=skeleton,
            frames=frames,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
            input_channels=_CHANNELS,
        )

    def forward(self, x: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Predict the poses without noise; see `Denoiser.forward`."""
        return self.net.lift(torch.cat([x, noisy], dim=-1), self.embed_times(times))
