"""Weights and inputs of the official classes' check values (backbones.md, section 12)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn


def weyl(*shape: int) -> Tensor:
    """u_k = 2·frac(k·0.6180339887498949) - 1 for k = 1, 2, ..., row-major, float64."""
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    product = k * 0.6180339887498949
    return (2 * (product - product.floor()) - 1).reshape(shape)


def fill(net: nn.Module) -> nn.Module:
    """Set the check values' weights of a net whose only gains are those of layer norms."""
    gains = {id(m.weight) for m in net.modules() if isinstance(m, nn.LayerNorm)}
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(0.05 * weyl(*parameter.shape))
            else:
                parameter.fill_(1.0 if id(parameter) in gains else 0.0)
    return net.eval()


def assert_check_values(out: Tensor, expected: Sequence[float], tolerance: float) -> None:
    """Mean, mean of absolute values, first three and last three values, as the table has them."""
    flat = out.flatten().double()
    found = [flat.mean().item(), flat.abs().mean().item(), *flat[:3].tolist(), *flat[-3:].tolist()]
    assert found == pytest.approx(expected, abs=tolerance)


def count_on_meta(net: nn.Module) -> int:
    assert all(parameter.is_meta for parameter in net.parameters())
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def assert_default_initialisation(net: nn.Module) -> None:
    """Linear layers uniform within ±1/√fan_in, layer norms one and zero."""
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()
        if isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            for parameter in (module.weight, module.bias):
                assert parameter.abs().max() <= bound
            if module.weight.numel() > 1000:
                assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def assert_every_parameter_learns(gradients: Mapping[str, Tensor | None]) -> None:
    """Every gradient is there and not zero, but for the keys' biases, which are inert."""
    largest = max(g.abs().max().item() for g in gradients.values() if g is not None)
    for name, gradient in gradients.items():
        assert gradient is not None, name
        if name.endswith("attn.qkv.bias"):
            queries, keys, values = gradient.chunk(3)
            assert keys.abs().max() < 1e-10 * largest, name
            gradient = torch.cat([queries, values])
        assert gradient.abs().max() > 1e-10 * largest, name


def official_mixste(
    depth: int, width: int, frames: int, coordinates: int = 2
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of a checkpoint of MixSTE's authors."""
    shapes: dict[str, tuple[int, ...]] = {
        "Spatial_pos_embed": (1, 17, width),
        "Temporal_pos_embed": (1, frames, width),
        "Spatial_patch_to_embedding.weight": (width, coordinates),
        "Spatial_patch_to_embedding.bias": (width,),
    }
    for block in (f"{stack}.{i}" for stack in ("STEblocks", "TTEblocks") for i in range(depth)):
        for layer, outputs, inputs in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 2 * width, width),
            ("mlp.fc2", width, 2 * width),
        ):
            shapes |= {
                f"{block}.{layer}.weight": (outputs, inputs),
                f"{block}.{layer}.bias": (outputs,),
            }
        for kind in ("weight", "bias"):
            shapes |= {f"{block}.norm1.{kind}": (width,), f"{block}.norm2.{kind}": (width,)}
    for norm in ("Spatial_norm", "Temporal_norm", "head.0"):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return shapes | {"head.1.weight": (3, width), "head.1.bias": (3,)}


def synthetic(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random entries of these names and shapes."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def assert_learns_and_repeats(
    build: Callable[[], nn.Module],
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    steps: int,
) -> None:
    """Assert that a net of 6 frames and 5 joints learns a function, twice the same way."""

    def losses() -> list[float]:
        net = build()
        x = torch.randn(8, 6, 5, 2)
        target = torch.cat([x, x.square().sum(dim=-1, keepdim=True)], dim=-1)
        optimizer = optimizer_of(net)
        found = []
        for _ in range(steps):
            loss: Tensor = torch.linalg.vector_norm(net(x) - target, dim=-1).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            found.append(loss.item())
        return found

    first = losses()
    assert first[-1] < 0.6 * first[0]
    assert first == losses()
