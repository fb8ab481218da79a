"""Pose-nets against the official classes: sizes, forward values (docs of each net), shapes."""

from __future__ import annotations

import inspect
import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.trainables.small_trainings import SMALL_BACKBONES
from trainables.backbones import BACKBONES, SimpleBaseline, VideoPose
from trainables.config import BackboneName
from trainables.errors import ShapeError
from trainables.seal.lifting import window_of
from trainables.seal.training_pass import training_pass
from trainables.skeletons import H3WB_133, H36M_17, MPI_INF_3DHP_17, Skeleton

NAMES: tuple[BackboneName, ...] = get_args(BackboneName)
SINGLE_FRAME = tuple(name for name, entry in BACKBONES.items() if entry.recipe.single_frame)


def build(name: BackboneName, skeleton: Skeleton = H36M_17, **options: Any) -> nn.Module:
    entry = BACKBONES[name]
    return entry.build(**entry.joint_arguments(skeleton), **options)


def build_small(
    name: BackboneName, skeleton: Skeleton = H36M_17, **options: Any
) -> tuple[nn.Module, int]:
    """A small net, and the frames of the clips that it takes."""
    small = {**SMALL_BACKBONES[name], **options}
    return build(name, skeleton, **small), small.get("frames", 2)


def weyl(*shape: int) -> Tensor:
    """u_k = 2·frac(k·0.6180339887498949) - 1 for k = 1, 2, ..., row-major, float64."""
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    product = k * 0.6180339887498949
    return (2 * (product - product.floor()) - 1).reshape(shape)


def fill(net: nn.Module) -> nn.Module:
    """Set the check values' weights; SemGCN's edge logits keep their ones."""
    net = net.eval()
    gains = {id(m.weight) for m in net.modules() if isinstance(m, nn.BatchNorm1d)}
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim >= 2 and name.split(".")[-1] != "e":
                parameter.copy_(0.05 * weyl(*parameter.shape))
            elif parameter.ndim < 2:
                parameter.fill_(1.0 if id(parameter) in gains else 0.0)
    return net


def test_every_configurable_backbone_is_registered() -> None:
    assert set(BACKBONES) == set(NAMES)
    assert all(entry.name == name and entry.description for name, entry in BACKBONES.items())


@pytest.mark.parametrize(
    ("name", "skeleton", "expected"),
    [
        ("videopose", H36M_17, 4_291_635),
        ("videopose", H3WB_133, 4_885_903),
        ("simplebaseline", H36M_17, 4_296_755),
        ("simplebaseline", H3WB_133, 4_891_023),
        ("semgcn", H36M_17, 267_373),
        ("semgcn", MPI_INF_3DHP_17, 267_373),
        # ten convolutions have 133 + 2·132 edge logits instead of 17 + 2·16
        ("semgcn", H3WB_133, 267_373 + 10 * (397 - 49)),
        ("mixste", H36M_17, 33_783_811),
        ("pstmo", H36M_17, 5_527_142),
        ("poseformerv2", H36M_17, 14_355_739),
        ("d3dp", H36M_17, 34_835_459),
        ("ktpformer", H36M_17, 35_213_430),
        ("motionagformer", H36M_17, 18_998_687),
        ("mixste", MPI_INF_3DHP_17, 33_783_811),
        ("pstmo", MPI_INF_3DHP_17, 5_527_142),
        ("poseformerv2", MPI_INF_3DHP_17, 14_355_739),
        ("d3dp", MPI_INF_3DHP_17, 34_835_459),
        ("ktpformer", MPI_INF_3DHP_17, 35_213_430),
        ("motionagformer", MPI_INF_3DHP_17, 18_998_687),
    ],
)
def test_parameter_counts_of_the_official_classes(
    name: BackboneName, skeleton: Skeleton, expected: int
) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in build(name, skeleton).parameters())
    assert count == expected == BACKBONES[name].parameters[skeleton.num_joints]
    assert count == BACKBONES[name].count_parameters(skeleton)


def test_parameter_count_of_simplebaseline_without_the_neck() -> None:
    assert sum(p.numel() for p in SimpleBaseline(num_joints=16).parameters()) == 4_291_632


def test_counting_parameters_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    for entry in BACKBONES.values():
        entry.count_parameters(H36M_17)
    assert torch.equal(torch.get_rng_state(), before)


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


@pytest.mark.parametrize("name", ["videopose", "simplebaseline"])
def test_forward_values_of_the_official_classes(name: BackboneName) -> None:
    net = fill(build(name).double())
    with torch.no_grad():
        out = net(weyl(1, 34).reshape(1, 1, 17, 2)).flatten()
    assert out.mean().item() == pytest.approx(0.002825, abs=1e-6)
    assert out.abs().mean().item() == pytest.approx(0.059631, abs=1e-6)
    assert out[:3].tolist() == pytest.approx([-0.026898, -0.021203, 0.076860], abs=1e-6)
    assert out[-3:].tolist() == pytest.approx([0.050056, -0.078603, 0.054338], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_values_of_the_official_semgcn(dtype: torch.dtype) -> None:
    net = fill(build("semgcn").to(dtype))
    with torch.no_grad():
        out = net(weyl(1, 1, 17, 2).to(dtype)).flatten()
    # stated for float32 within 1e-4; these values are small, so they are held to their digits
    assert out.mean().item() == pytest.approx(-0.000134, abs=1e-6)
    assert out.abs().mean().item() == pytest.approx(0.002471, abs=1e-6)
    assert out[:3].tolist() == pytest.approx([-0.001398, -0.000376, 0.002131], abs=1e-6)
    assert out[-3:].tolist() == pytest.approx([-0.001992, -0.000456, 0.000670], abs=1e-6)


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


@pytest.mark.parametrize("name", SINGLE_FRAME)
def test_frames_are_lifted_independently(name: BackboneName) -> None:
    torch.manual_seed(0)
    net = build(name, channels=16).eval()
    x = torch.randn(3, 5, 17, 2)
    single = torch.stack([net(x[:, t : t + 1])[:, 0] for t in range(5)], dim=1)
    torch.testing.assert_close(net(x), single)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_only(name: BackboneName) -> None:
    torch.manual_seed(0)
    taken = inspect.signature(BACKBONES[name].build).parameters
    option = "dropout" if "dropout" in taken else "drop_path"
    net, frames = build_small(name, H36M_17, **{option: 0.5})
    x, target = torch.randn(8, frames, 17, 2), torch.randn(8, frames, 17, 3)
    first, second = (training_pass(net.train(), x, target).pred for _ in range(2))
    assert not torch.equal(first, second)
    net.eval()
    assert torch.equal(net(x), net(x))


def test_simplebaseline_weights_are_kaiming_normal() -> None:
    torch.manual_seed(0)
    net = SimpleBaseline(num_joints=17)
    stage = net.linear_stages[0]
    assert isinstance(stage.w1, nn.Linear)
    assert stage.w1.weight.std().item() == pytest.approx(math.sqrt(2 / 1024), rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_whole_bodies_are_lifted(name: BackboneName) -> None:
    net, frames = build_small(name, H3WB_133)
    outputs = window_of(net).outputs(frames)
    assert net(torch.randn(3, frames, 133, 2)).shape == (3, outputs, 133, 3)


@pytest.mark.parametrize("name", SINGLE_FRAME)
def test_every_weight_is_trained_except_biases_before_batch_norm(name: BackboneName) -> None:
    torch.manual_seed(0)
    net = build(name, channels=16, dropout=0.0).double()
    net(torch.randn(8, 1, 17, 2, dtype=torch.float64)).square().sum().backward()
    gradients = {
        n: p.grad.abs().max().item() for n, p in net.named_parameters() if p.grad is not None
    }
    assert len(gradients) == len(list(net.parameters()))
    inert = {n for n, largest in gradients.items() if largest < 1e-10 * max(gradients.values())}
    expected = {
        "videopose": set[str](),
        "simplebaseline": {"w1.bias"}
        | {f"linear_stages.{s}.{w}.bias" for s in range(2) for w in ("w1", "w2")},
        "semgcn": {"gconv_input.gconv.bias"}
        | {f"gconv_layers.{s}.{u}.gconv.bias" for s in range(4) for u in ("gconv1", "gconv2")},
    }
    assert inert == expected[name]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused_with_both_shapes(name: BackboneName) -> None:
    net, frames = build_small(name)
    with pytest.raises(ShapeError, match=rf"\(B, T, 17, 2\), got \(2, {frames}, 16, 2\)"):
        net(torch.zeros(2, frames, 16, 2))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SINGLE_FRAME])
def test_clips_shorter_than_the_window_are_refused_with_the_cure(name: BackboneName) -> None:
    net, frames = build_small(name)
    with pytest.raises(
        ShapeError, match=rf"clips of .*{frames}.*set data.frames={frames}, or build"
    ):
        net(torch.zeros(2, 1, 17, 2))


def test_videopose_refuses_even_widths_and_short_clips() -> None:
    with pytest.raises(ValueError, match=r"odd and positive, got \[1, 2\]"):
        VideoPose(num_joints=17, widths=(1, 2))
    with pytest.raises(ShapeError, match=r"clips of 2 frames are shorter .* set data.frames=3"):
        VideoPose(num_joints=17, widths=(3,), channels=8)(torch.zeros(1, 2, 17, 2))
