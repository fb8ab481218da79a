"""Blocks that the transformer pose-nets share. Rows N: the flattened batch; tokens L; width C."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "MLP",
    "Attention",
    "Block",
    "DropPath",
    "attend",
    "check_sizes",
    "drop_path_rates",
]


def check_sizes(**sizes: int) -> None:
    """Refuse numbers of channels, layers and the like that are not positive.

    Torch takes zero channels, warns, and trains nothing.

    Raises:
        ValueError: If there is one; the message names all of them.
    """
    wrong = {name: size for name, size in sizes.items() if size < 1}
    if wrong:
        found = " and ".join(str(size) for size in wrong.values())
        raise ValueError(f"{' and '.join(wrong)} must be positive, got {found}")


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, dropout: float) -> Tensor:
    """Multi-head attention with scale (C/heads)^-1/2, without its projections.

    Args:
        queries: (N, L, C), heads major in C.
        keys: (N, L', C).
        values: (N, L', C).
        heads: Heads, a divisor of C.
        dropout: Dropout rate on the attention's probabilities; 0 outside training.

    Returns:
        (N, L, C).
    """
    q, k, v = (
        t.unflatten(-1, (heads, -1)).transpose(1, 2)  # (N, heads, L, C/heads)
        for t in (queries, keys, values)
    )
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    return out.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head self-attention: one fused map C to 3C, rows (q, k, v), heads major in each.

    Args:
        width: Channels C.
        heads: Heads, a divisor of C.
        qkv_bias: Whether the fused map has a bias; its key third is inert.

    Raises:
        ValueError: If a number is not positive, or the heads do not divide the channels.
    """

    def __init__(self, width: int, heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        check_sizes(width=width, heads=heads)
        if width % heads:
            raise ValueError(f"heads must divide the width, got {heads} heads of width {width}")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """Mix the tokens of each row, (N, L, C) to (N, L, C)."""
        queries, keys, values = self.qkv(h).chunk(3, dim=-1)
        return self.proj(attend(queries, keys, values, self.heads, 0.0))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Linear, activation, Linear on each token.

    Args:
        width: Channels C, in and out.
        hidden: Channels between.
        activation: Function between; the exact GELU by default.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(
        self, width: int, hidden: int, *, activation: Callable[[Tensor], Tensor] = F.gelu
    ) -> None:
        super().__init__()
        check_sizes(width=width, hidden=hidden)
        self.fc1 = nn.Linear(width, hidden)
        self.activation = activation
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, h: Tensor) -> Tensor:
        """Map each token, (..., C) to (..., C)."""
        return self.fc2(self.activation(self.fc1(h)))  # type: ignore[no-any-return]


class DropPath(nn.Module):
    """Stochastic depth: in training each row is zero with probability p, or divided by 1 - p.

    Args:
        rate: Probability p, of [0, 1).

    Raises:
        ValueError: If it is none.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate must be in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, h: Tensor) -> Tensor:
        """Drop rows, (N, ...) to (N, ...)."""
        if not self.training or self.rate == 0:
            return h
        shape = (len(h), *(1,) * (h.ndim - 1))
        kept = torch.empty(shape, dtype=h.dtype, device=h.device).bernoulli_(1 - self.rate)
        return h * (kept / (1 - self.rate))

    def extra_repr(self) -> str:
        """The rate, as torch prints modules."""
        return f"rate={self.rate:.4g}"


class Block(nn.Module):
    """Pre-norm block: h + DP(mixer(LN1(h))), then h + DP(MLP(LN2(h))).

    Names are those of the timm blocks that the official codes derive from, so that their
    checkpoints load but for the prefix.

    Args:
        width: Channels C.
        heads: Heads, a divisor of C.
        mlp_ratio: Hidden channels of the MLP by C.
        drop_path: Rate of stochastic depth, of both branches.
        eps: Of both layer norms.
        attention_eps: Of the attention's layer norm, if another.
        qkv_bias: Whether the attention's fused map has a bias.

    Raises:
        ValueError: If a number is not positive, the heads do not divide the channels, or the
            rate is none.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        attention_eps: float | None = None,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(width=width, heads=heads)
        self.norm1 = nn.LayerNorm(width, eps=eps if attention_eps is None else attention_eps)
        self.attn = Attention(width, heads, qkv_bias=qkv_bias)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, int(width * mlp_ratio))

    def forward(self, h: Tensor) -> Tensor:
        """Mix and map the tokens of each row, (N, L, C) to (N, L, C)."""
        h = h + self.drop_path(self.attn(self.norm1(h)))
        return h + self.drop_path(self.mlp(self.norm2(h)))  # type: ignore[no-any-return]


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates of `depth` blocks, evenly from 0 to `rate`; a single block has 0."""
    return [rate * i / (depth - 1) if depth > 1 else 0.0 for i in range(depth)]
