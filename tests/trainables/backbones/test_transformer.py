"""Shared transformer blocks against plain computations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.backbones._transformer import Attention, Block, DropPath, drop_path_rates


def plain_attention(attention: Attention, h: Tensor) -> Tensor:
    """One row (L, C), head by head and query by query."""
    tokens, width = h.shape
    size = width // attention.heads
    q, k, v = attention.qkv(h).reshape(tokens, 3, attention.heads, size).unbind(1)
    rows = []
    for i in range(tokens):
        parts = []
        for head in range(attention.heads):
            weights = [q[i, head] @ k[j, head] / math.sqrt(size) for j in range(tokens)]
            probabilities = torch.stack(weights).softmax(dim=0)
            parts.append(sum(probabilities[j] * v[j, head] for j in range(tokens)))
        rows.append(torch.cat(parts))
    out: Tensor = attention.proj(torch.stack(rows))
    return out


@pytest.mark.parametrize("bias", [True, False])
def test_attention_equals_a_plain_computation(bias: bool) -> None:
    torch.manual_seed(0)
    attention = Attention(6, 2, qkv_bias=bias).double()
    h = torch.randn(3, 5, 6, dtype=torch.float64)
    expected = torch.stack([plain_attention(attention, row) for row in h])
    torch.testing.assert_close(attention(h), expected, rtol=1e-10, atol=1e-12)
    assert (attention.qkv.bias is not None) == bias


def test_block_is_pre_norm_with_two_branches() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, mlp_ratio=1.5, eps=1e-6, attention_eps=1e-5).double().eval()
    h = torch.randn(2, 4, 8, dtype=torch.float64)
    mixed = h + block.attn(block.norm1(h))
    inner = torch.nn.functional.gelu(block.mlp.fc1(block.norm2(mixed)))
    torch.testing.assert_close(block(h), mixed + block.mlp.fc2(inner))
    assert block.mlp.fc1.out_features == 12
    assert (block.norm1.eps, block.norm2.eps) == (1e-5, 1e-6)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 heads of width 8"):
        Attention(8, 3)


def test_drop_path_drops_whole_rows_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.ones(20_000, 2, 3))
    rows = out[:, 0, 0]
    assert torch.equal(out, rows[:, None, None].expand_as(out))
    assert rows.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert rows.eq(0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert rows.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_is_nothing_in_evaluation_or_at_rate_zero() -> None:
    h = torch.randn(5, 2)
    before = torch.get_rng_state()
    assert DropPath(0.5).eval()(h) is h
    assert DropPath(0.0)(h) is h
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_that_are_none_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"in \[0, 1\), got {rate}"):
        DropPath(rate)


def test_drop_path_rates_grow_evenly() -> None:
    assert drop_path_rates(0.1, 8) == pytest.approx(
        [0, 0.0143, 0.0286, 0.0429, 0.0571, 0.0714, 0.0857, 0.1], abs=5e-5
    )
    assert drop_path_rates(0.1, 1) == [0.0]
