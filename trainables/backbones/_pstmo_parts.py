"""What P-STMO and its masked pre-training are made of. Rows N, tokens L, width C."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._transformer import attend, check_sizes

__all__ = ["FrameEncoder", "PlainLayers", "StridedTransformer", "TemporalTransformer", "TokenNorm"]

_LEAK = 0.2
_TABLES = 3  # strided layers that have a position table


class FrameEncoder(nn.Module):
    """Residual MLP on the coordinates of each frame; (N, L, in) to (N, L, C).

    The release has convolutions of width 1, which are the same maps.

    Args:
        inputs: Coordinates of a frame.
        width: Channels C out; 2·C inside.
        dropout: Dropout rate after every hidden activation.
    """

    def __init__(self, inputs: int, width: int, *, dropout: float) -> None:
        super().__init__()
        hidden = 2 * width
        self.dropout = dropout
        self.expand, self.expand_bn = nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden)
        self.fc1, self.bn1 = nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden)
        self.fc2, self.bn2 = nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden)
        self.shrink = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Encode frames."""
        h = self._activate(self.expand_bn(self.expand(x.flatten(0, 1))))
        inner = self._activate(self.bn1(self.fc1(h)))
        h = h + self._activate(self.bn2(self.fc2(inner)))
        return self.shrink(h).view(*x.shape[:2], -1)  # type: ignore[no-any-return]

    def _activate(self, h: Tensor) -> Tensor:
        return F.dropout(F.leaky_relu(h, _LEAK), self.dropout, self.training)


class TokenNorm(nn.Module):
    """γ·(h - μ)/(σ + 1e-6) + β, σ being the unbiased standard deviation over the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        """Normalise each token, (..., C) to (..., C)."""
        deviation, mean = torch.std_mean(h, dim=-1, keepdim=True)
        return self.weight * (h - mean) / (deviation + 1e-6) + self.bias


class SeparateAttention(nn.Module):
    """Multi-head self-attention with a map each for queries, keys, values and output.

    All four start as the same map, as the release has it.
    """

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        check_sizes(width=width, heads=heads)
        if width % heads:
            raise ValueError(f"heads must divide the width, got {heads} heads of width {width}")
        self.heads, self.dropout = heads, dropout
        self.queries = nn.Linear(width, width)
        self.keys = copy.deepcopy(self.queries)
        self.values = copy.deepcopy(self.queries)
        self.out = copy.deepcopy(self.queries)

    def forward(self, h: Tensor) -> Tensor:
        """Mix the tokens of each row, (N, L, C) to (N, L, C)."""
        rate = self.dropout if self.training else 0.0
        return self.out(  # type: ignore[no-any-return]
            attend(self.queries(h), self.keys(h), self.values(h), self.heads, rate)
        )


class _PlainLayer(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, width: int, hidden: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm1 = TokenNorm(width)
        self.attention = SeparateAttention(width, heads, dropout=dropout)
        self.norm2 = TokenNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.shrink = nn.Linear(hidden, width)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self._drop(self.attention(self.norm1(h)))
        return h + self._drop(self.shrink(self._drop(F.relu(self.expand(self.norm2(h))))))

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training)


class PlainLayers(nn.Module):
    """Layers that all start as the same one, as the release copies a template.

    Args:
        width: Channels C.
        hidden: Channels of the feed-forward.
        depth: Layers.
        heads: Attention heads, a divisor of C.
        dropout: Dropout rate.
    """

    def __init__(self, width: int, hidden: int, *, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        template = _PlainLayer(width, hidden, heads=heads, dropout=dropout)
        self.layers = nn.ModuleList(copy.deepcopy(template) for _ in range(depth))
        self.closing_norm = TokenNorm(width)  # never called; official checkpoints have it

    def forward(self, h: Tensor) -> Tensor:
        """Mix and map tokens, (N, L, C) to (N, L, C)."""
        for layer in self.layers:
            h = layer(h)
        return h


class TemporalTransformer(PlainLayers):
    """Position table and plain layers over the frames; (N, T, C) to (N, L, C)."""

    def __init__(
        self, frames: int, width: int, hidden: int, *, depth: int, heads: int, dropout: float
    ) -> None:
        super().__init__(width, hidden, depth=depth, heads=heads, dropout=dropout)
        self.table = nn.Parameter(torch.randn(1, frames, width))

    def forward(self, h: Tensor, visible: Tensor | None = None) -> Tensor:
        """Mix the frames, or those at the positions `visible` (L,), as if there were no others."""
        h = h + self.table
        return super().forward(h if visible is None else h[:, visible])


class _StridedLayer(nn.Module):
    """Attention, then a feed-forward that merges each few tokens into one; (N, L, C)."""

    def __init__(
        self,
        attention: SeparateAttention,
        width: int,
        hidden: int,
        *,
        stride: int,
        dropout: float,
        centred: bool,
    ) -> None:
        super().__init__()
        self.stride, self.dropout = stride, dropout
        self.first = stride // 2 if centred else 0  # which one of the merged tokens is kept
        self.norm1 = TokenNorm(width)
        self.attention = attention
        self.norm2 = TokenNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.shrink = nn.Conv1d(hidden, width, 3, stride=stride)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self._drop(self.attention(self.norm1(h)))
        kept = h[:, self.first :: self.stride]
        inner = self._drop(F.relu(self.expand(self.norm2(h)))).transpose(1, 2)
        # one token more on either side of those that are kept, zeros beyond the ends
        inner = F.pad(inner[..., max(self.first - 1, 0) :], (int(self.first == 0), 1))
        merged = self.shrink(inner)[..., : kept.shape[1]].transpose(1, 2)
        return kept + self._drop(merged)

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training)


class StridedTransformer(nn.Module):
    """Strided layers that shrink a window to one token; (N, T, C) to (N, 1, C).

    The first three have position tables, each of T rows of which the first are used. All
    attentions start as the same one; the feed-forwards do not.

    Args:
        frames: Frames T, the product of the strides.
        width: Channels C.
        hidden: Channels of the feed-forwards.
        strides: Stride of each layer.
        heads: Attention heads, a divisor of C.
        dropout: Dropout rate.
        centred: Whether to keep the middle one of merged tokens, not the first.
    """

    def __init__(
        self,
        frames: int,
        width: int,
        hidden: int,
        *,
        strides: Sequence[int],
        heads: int,
        dropout: float,
        centred: bool,
    ) -> None:
        super().__init__()
        attention = SeparateAttention(width, heads, dropout=dropout)
        self.layers = nn.ModuleList(
            _StridedLayer(
                copy.deepcopy(attention),
                width,
                hidden,
                stride=stride,
                dropout=dropout,
                centred=centred,
            )
            for stride in strides
        )
        self.tables = nn.ParameterList(
            nn.Parameter(torch.randn(1, frames, width)) for _ in strides[:_TABLES]
        )
        self.closing_norm = TokenNorm(width)  # never called; official checkpoints have it

    def forward(self, h: Tensor) -> Tensor:
        """Shrink windows."""
        for index, layer in enumerate(self.layers):
            if index < len(self.tables):
                h = h + self.tables[index][:, : h.shape[1]]
            h = layer(h)
        return h
