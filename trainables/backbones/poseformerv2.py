"""PoseFormerV2 (Zhao et al., CVPR 2023): a few frames and the window's low frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainables.backbones._sliding import as_windows, middle_window
from trainables.backbones._transformer import (
    MLP,
    Attention,
    Block,
    DropPath,
    check_sizes,
    drop_path_rates,
)

__all__ = ["PoseFormerV2", "dct_matrix", "inverse_dct_matrix"]

_EPS = 1e-6


class PoseFormerV2(nn.Module):
    """Transformer over the middle frames of a window and its first DCT coefficients.

    Names and shapes of the parameters are those of the official code, so that its checkpoints
    load. The joints' features are side by side in a frame's token, so its width is C·J.

    Args:
        num_joints: Joints J, in and out.
        frames: Frames T of the window, odd.
        kept_frames: Frames f in its middle that become tokens, odd.
        kept_coefficients: Coefficients n of the transform in time that become tokens.
        width: Channels C of a joint.
        depth: Blocks, over the joints of a frame as well as over all tokens.
        heads: Attention heads, a divisor of C.
        mlp_ratio: Hidden channels of the blocks' MLPs by their own.
        drop_path: Stochastic depth of the last block in training; it grows evenly from 0.
        split_at_half: Where f and n differ, the mixed blocks of the release take the second half
            of the tokens for those of the frames; checkpoints with f != n need it.
        output_scale: Metres for 1 in the last layer's output: 1 on Human3.6M, 0.001 for the
            authors' nets of MPI-INF-3DHP.

    Raises:
        ValueError: If an option is out of range.
    """

    dct: Tensor

    def __init__(
        self,
        *,
        num_joints: int,
        frames: int = 27,
        kept_frames: int = 3,
        kept_coefficients: int = 3,
        width: int = 32,
        depth: int = 4,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        split_at_half: bool = False,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.window = middle_window(frames)
        check_sizes(width=width, depth=depth, heads=heads)
        if kept_frames % 2 == 0 or not 1 <= kept_frames <= frames:
            raise ValueError(
                f"kept_frames must be odd and of 1 to {frames} frames, got {kept_frames}"
            )
        if not 1 <= kept_coefficients <= frames:
            raise ValueError(
                f"kept_coefficients must be of 1 to {frames} frames, got {kept_coefficients}"
            )
        self.num_joints = num_joints
        self.kept_frames = kept_frames
        self.kept_coefficients = kept_coefficients
        self.output_scale = output_scale
        token = width * num_joints
        split = (kept_coefficients + kept_frames) // 2 if split_at_half else kept_coefficients
        rates = drop_path_rates(drop_path, depth)

        self.Joint_embedding = nn.Linear(2, width)
        self.Freq_embedding = nn.Linear(2 * num_joints, token)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, num_joints, width))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, kept_frames, token))
        self.Temporal_pos_embed_ = nn.Parameter(torch.zeros(1, kept_coefficients, token))
        self.Spatial_blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=mlp_ratio, drop_path=rate, eps=_EPS) for rate in rates
        )
        self.blocks = nn.ModuleList(
            _MixedBlock(
                token,
                heads,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
                tokens=kept_coefficients + kept_frames,
                split=split,
            )
            for rate in rates
        )
        self.Spatial_norm = nn.LayerNorm(width, eps=_EPS)
        self.Temporal_norm = nn.LayerNorm(token, eps=_EPS)
        self.weighted_mean = nn.Conv1d(kept_coefficients, 1, 1)
        self.weighted_mean_ = nn.Conv1d(kept_frames, 1, 1)
        self.head = nn.Sequential(nn.LayerNorm(2 * token), nn.Linear(2 * token, 3 * num_joints))
        self.register_buffer("dct", dct_matrix(frames, kept_coefficients), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Lift the middle frames of clips.

        Args:
            x: Normalised screen coordinates, (B, T', J, 2), T' >= T.

        Returns:
            Root-relative joints, metres, (B, T' - T + 1, J, 3).

        Raises:
            ShapeError: If joints or coordinates do not fit, or the clips are too short.
        """
        windows = as_windows(x, self.num_joints, self.window.frames)
        tokens = torch.cat(
            (self._frequency_tokens(windows), self._frame_tokens(windows)), dim=1
        )  # (N, n + f, C·J)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.Temporal_norm(tokens)
        kept = self.kept_coefficients
        pooled = torch.cat(
            (self.weighted_mean(tokens[:, :kept]), self.weighted_mean_(tokens[:, kept:])), dim=-1
        )  # (N, 1, 2·C·J)
        poses: Tensor = self.head(pooled).view(len(x), -1, self.num_joints, 3)
        return poses * self.output_scale

    def _frame_tokens(self, windows: Tensor) -> Tensor:
        """Middle frames (N, T, J, 2) as tokens (N, f, C·J)."""
        first = (self.window.frames - self.kept_frames) // 2
        frames = windows[:, first : first + self.kept_frames]
        h = self.Joint_embedding(frames.flatten(0, 1)) + self.Spatial_pos_embed  # (N·f, J, C)
        for block in self.Spatial_blocks:
            h = block(h)
        tokens: Tensor = self.Spatial_norm(h).view(len(windows), self.kept_frames, -1)
        return tokens + self.Temporal_pos_embed

    def _frequency_tokens(self, windows: Tensor) -> Tensor:
        """First coefficients in time of each coordinate, (N, T, J, 2), as tokens (N, n, C·J)."""
        # the sums are over whole windows: not in the half precision of autocast
        with torch.autocast(windows.device.type, enabled=False):
            coefficients = self.dct.to(windows.dtype) @ windows.flatten(2)  # (N, n, 2·J)
        return self.Freq_embedding(coefficients) + self.Temporal_pos_embed_  # type: ignore[no-any-return]


class _FrequencyMLP(nn.Module):
    """An MLP on the DCT coefficients of the tokens; (N, L, C) to (N, L, C)."""

    dct: Tensor
    inverse: Tensor

    def __init__(self, width: int, hidden: int, tokens: int) -> None:
        super().__init__()
        mlp = MLP(width, hidden)
        self.fc1, self.fc2, self.activation = mlp.fc1, mlp.fc2, mlp.activation
        self.register_buffer("dct", dct_matrix(tokens, tokens), persistent=False)
        self.register_buffer("inverse", inverse_dct_matrix(tokens), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        h = self.fc2(self.activation(self.fc1(self.dct.to(h.dtype) @ h)))
        return self.inverse.to(h.dtype) @ h


class _MixedBlock(nn.Module):
    """Attention over all tokens, then an MLP on the first and a frequency MLP on the others.

    Args:
        width: Channels of a token.
        heads: Attention heads, a divisor of the width.
        mlp_ratio: Hidden channels of the MLPs by the width.
        drop_path: Rate of stochastic depth, of all branches.
        tokens: Tokens L.
        split: Tokens that the plain MLP takes.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float,
        drop_path: float,
        tokens: int,
        split: int,
    ) -> None:
        super().__init__()
        self.split = split
        hidden = int(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Attention(width, heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp1 = MLP(width, hidden)
        self.norm3 = nn.LayerNorm(width, eps=_EPS)
        self.mlp2 = _FrequencyMLP(width, hidden, tokens - split)

    def forward(self, h: Tensor) -> Tensor:
        """Mix and map the tokens of each row, (N, L, C) to (N, L, C)."""
        h = h + self.drop_path(self.attn(self.norm1(h)))
        first, second = h[:, : self.split], h[:, self.split :]
        first = first + self.drop_path(self.mlp1(self.norm2(first)))
        second = second + self.drop_path(self.mlp2(self.norm3(second)))
        return torch.cat((first, second), dim=1)


def dct_matrix(frames: int, kept: int) -> Tensor:
    """First rows of the unnormalised DCT-II: X_k = 2·Σ_t x_t·cos(πk(2t + 1)/(2T)).

    Args:
        frames: Frames T.
        kept: Coefficients, k = 0, 1, ...

    Returns:
        (kept, T), float64, so that nets of any precision lose nothing.
    """
    k = torch.arange(kept, dtype=torch.float64)[:, None]
    t = torch.arange(frames, dtype=torch.float64)
    return 2 * torch.cos(math.pi * k * (2 * t + 1) / (2 * frames))


def inverse_dct_matrix(frames: int) -> Tensor:
    """The inverse of `dct_matrix(frames, frames)`, (T, T), float64."""
    weights = torch.full((frames,), 1 / (2 * frames), dtype=torch.float64)
    weights[0] /= 2
    return dct_matrix(frames, frames).T * weights
