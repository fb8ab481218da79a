"""Pose-nets against the official classes: sizes, forward values (docs of each net), shapes."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones import BACKBONES, SimpleBaseline, VideoPose
from trainables.config import BackboneName
from trainables.errors import ShapeError

NAMES: tuple[BackboneName, ...] = get_args(BackboneName)


def weyl(*shape: int) -> Tensor:
    """u_k = 2·frac(k·0.6180339887498949) - 1 for k = 1, 2, ..., row-major, float64."""
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    product = k * 0.6180339887498949
    return (2 * (product - product.floor()) - 1).reshape(shape)


def fill(net: nn.Module) -> nn.Module:
    net = net.double().eval()
    gains = {id(m.weight) for m in net.modules() if isinstance(m, nn.BatchNorm1d)}
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(0.05 * weyl(*parameter.shape))
            else:
                parameter.fill_(1.0 if id(parameter) in gains else 0.0)
    return net


def test_every_configurable_backbone_is_registered() -> None:
    assert set(BACKBONES) == set(NAMES)
    assert all(entry.name == name and entry.description for name, entry in BACKBONES.items())


@pytest.mark.parametrize(
    ("name", "joints", "expected"),
    [
        ("videopose", 17, 4_291_635),
        ("videopose", 133, 4_885_903),
        ("simplebaseline", 17, 4_296_755),
        ("simplebaseline", 133, 4_891_023),
    ],
)
def test_parameter_counts_of_the_official_classes(
    name: BackboneName, joints: int, expected: int
) -> None:
    entry = BACKBONES[name]
    count = sum(p.numel() for p in entry.build(num_joints=joints).parameters())
    assert count == expected == entry.parameters[joints]


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((1, 1, 1, 1), 6_392_883),
        ((1, 1, 1, 1, 1), 8_494_131),
        ((3, 3, 3), 8_555_571),
        ((3, 3, 3, 3, 3), 16_952_371),
    ],
)
def test_parameter_counts_of_other_widths(widths: tuple[int, ...], expected: int) -> None:
    net = VideoPose(num_joints=17, widths=widths)
    assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_forward_values_of_the_official_classes(name: BackboneName) -> None:
    net = fill(BACKBONES[name].build(num_joints=17))
    with torch.no_grad():
        out = net(weyl(1, 34).reshape(1, 1, 17, 2)).flatten()
    assert out.mean().item() == pytest.approx(0.002825, abs=1e-6)
    assert out.abs().mean().item() == pytest.approx(0.059631, abs=1e-6)
    assert out[:3].tolist() == pytest.approx([-0.026898, -0.021203, 0.076860], abs=1e-6)
    assert out[-3:].tolist() == pytest.approx([0.050056, -0.078603, 0.054338], abs=1e-6)


def official_videopose(net: VideoPose, x: Tensor) -> Tensor:
    """The net as the official code computes it: convolutions over (B, C, T)."""
    h = x.flatten(2).permute(0, 2, 1)
    h = F.dropout(F.relu(net.expand_bn(net.expand_conv(h))), net.dropout, net.training)
    dilation = net.widths[0]
    for i, width in enumerate(net.widths[1:]):
        pad = (width - 1) * dilation // 2
        residual = h[:, :, pad : h.shape[2] - pad]
        h = F.relu(net.layers_bn[2 * i](net.layers_conv[2 * i](h)))
        h = F.relu(net.layers_bn[2 * i + 1](net.layers_conv[2 * i + 1](h)))
        h = residual + h
        dilation *= width
    out: Tensor = net.shrink(h)
    return out.permute(0, 2, 1).reshape(len(x), -1, net.num_joints, 3)


@pytest.mark.parametrize(("widths", "frames"), [((1, 1, 1), 1), ((1, 1, 1), 4), ((3, 3, 3), 29)])
def test_videopose_equals_its_convolutions_in_training(
    widths: tuple[int, ...], frames: int
) -> None:
    torch.manual_seed(0)
    net = VideoPose(num_joints=5, widths=widths, channels=8, dropout=0.0).double().train()
    x = torch.randn(6, frames, 5, 2, dtype=torch.float64)
    out = net(x)
    assert out.shape == (6, frames - math.prod(widths) + 1, 5, 3)
    torch.testing.assert_close(out, official_videopose(net, x), rtol=1e-10, atol=1e-12)


def test_videopose_sees_the_centre_of_its_window() -> None:
    torch.manual_seed(0)
    net = VideoPose(num_joints=3, widths=(3, 3), channels=8).eval()
    x = torch.randn(1, 9, 3, 2)
    changed = x.clone()
    changed[:, 0] += 1.0
    assert net(x).shape[1] == 1
    assert not torch.equal(net(x), net(changed))


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_lifted_independently(name: BackboneName) -> None:
    torch.manual_seed(0)
    net = BACKBONES[name].build(num_joints=4, channels=16).eval()
    x = torch.randn(3, 5, 4, 2)
    single = torch.stack([net(x[:, t : t + 1])[:, 0] for t in range(5)], dim=1)
    torch.testing.assert_close(net(x), single)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_only(name: BackboneName) -> None:
    torch.manual_seed(0)
    net = BACKBONES[name].build(num_joints=4, channels=64, dropout=0.5)
    x = torch.randn(8, 1, 4, 2)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_simplebaseline_weights_are_kaiming_normal() -> None:
    torch.manual_seed(0)
    net = SimpleBaseline(num_joints=17)
    stage = net.linear_stages[0]
    assert isinstance(stage.w1, nn.Linear)
    assert stage.w1.weight.std().item() == pytest.approx(math.sqrt(2 / 1024), rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused_with_both_shapes(name: BackboneName) -> None:
    net = BACKBONES[name].build(num_joints=17, channels=8)
    with pytest.raises(ShapeError, match=r"\(B, T, 17, 2\), got \(2, 1, 16, 2\)"):
        net(torch.zeros(2, 1, 16, 2))


def test_videopose_refuses_even_widths_and_short_clips() -> None:
    with pytest.raises(ValueError, match=r"odd and positive, got \[1, 2\]"):
        VideoPose(num_joints=17, widths=(1, 2))
    with pytest.raises(ShapeError, match="2 frames are fewer than receptive field"):
        VideoPose(num_joints=17, widths=(3,), channels=8)(torch.zeros(1, 2, 17, 2))
