"""What holds for every pose-net whatever its weights: of frames, windows, and mirror images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.backbones import BACKBONES, D3DP
from trainables.config import MANY_TO_MANY, BackboneName
from trainables.metrics import j_agg, j_best, mpjpe, p_best
from trainables.seal.lifting import Lifting, lift_clips, lift_sequence, window_of
from trainables.seal.mirroring import mirror
from trainables.skeletons import H36M_17, MPI_INF_3DHP_17, Skeleton

FRAMES = 9
_CLIPS: Mapping[str, Any] = {"frames": FRAMES, "width": 16, "heads": 2, "depth": 2}
SMALL: Mapping[str, tuple[BackboneName, Mapping[str, Any]]] = {
    "videopose": ("videopose", {"channels": 16}),
    "videopose 3,3": ("videopose", {"channels": 16, "widths": (3, 3)}),
    "simplebaseline": ("simplebaseline", {"channels": 16}),
    "semgcn": ("semgcn", {"channels": 8, "stages": 1}),
    "mixste": ("mixste", _CLIPS),
    "pstmo": ("pstmo", {**_CLIPS, "hidden": 16}),
    "poseformerv2": ("poseformerv2", _CLIPS),
    "d3dp": ("d3dp", _CLIPS),
    "d3dp of ktpformer": ("d3dp", {**_CLIPS, "denoiser": "ktpformer"}),
    "ktpformer": ("ktpformer", _CLIPS),
    "motionagformer": ("motionagformer", {**_CLIPS, "head_width": 16}),
}
TEMPORAL = [name for name, (_, options) in SMALL.items() if {"frames", "widths"} & set(options)]
ONE_FRAME = ["videopose 3,3", "pstmo", "poseformerv2"]


def test_every_backbone_is_here() -> None:
    assert {backbone for backbone, _ in SMALL.values()} == set(BACKBONES)
    of_clips = {SMALL[name][0] for name in TEMPORAL}
    assert of_clips == {"videopose", *(n for n, e in BACKBONES.items() if e.frames > 1)}
    assert of_clips - {SMALL[name][0] for name in ONE_FRAME} == set(MANY_TO_MANY)


def build(name: str, skeleton: Skeleton = H36M_17) -> nn.Module:
    """A small net in evaluation mode, far from its initialisation: no table is zero there."""
    backbone, options = SMALL[name]
    entry = BACKBONES[backbone]
    torch.manual_seed(0)
    net = entry.build(**entry.joint_arguments(skeleton), **options).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def clips(net: nn.Module, count: int = 2, *, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, window_of(net).frames, 17, 2)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def noise_for(net: D3DP, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return net.draw_noise(count, hypotheses=2, iterations=2, generator=generator)


@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17], ids=lambda s: s.name)
@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_with_flipping_at_test_the_mirror_image_is_lifted_to_the_mirror_image(
    name: str, skeleton: Skeleton
) -> None:
    net = build(name, skeleton)
    x = clips(net)

    def lifted(x: Tensor, noise: Tensor | None, *, flip: bool) -> Tensor:
        if isinstance(net, D3DP):  # the mirror image of a sample is one of mirrored noise
            assert noise is not None
            return net.sample(x, noise, flip=flip)[-1]
        return lift_clips(net, x, skeleton, Lifting(flip=flip))

    noise = noise_for(net, len(x)) if isinstance(net, D3DP) else None
    mirrored_noise = None if noise is None else mirror(noise, skeleton)
    plain = lifted(x, noise, flip=True)
    assert plain.abs().max() > 1e-3
    found = lifted(mirror(x, skeleton), mirrored_noise, flip=True)
    torch.testing.assert_close(found, mirror(plain, skeleton), rtol=1e-9, atol=1e-11)
    other = lifted(mirror(x, skeleton), mirrored_noise, flip=False)
    assert not torch.allclose(other, mirror(lifted(x, noise, flip=False), skeleton))


@pytest.mark.parametrize("name", TEMPORAL)
@torch.no_grad()
def test_the_order_of_frames_matters(name: str) -> None:
    net = build(name)
    x = clips(net)
    order = torch.tensor([2, 0, 3, 1, 4, 8, 6, 5, 7])  # the middle stays where it is
    if isinstance(net, D3DP):
        noise = noise_for(net, len(x))
        plain = net.sample(x, noise)[-1]
        permuted = net.sample(x[:, order], noise[:, :, :, order])[-1]
        expected = plain[:, :, order]
    else:
        plain, permuted = net(x), net(x[:, order])
        expected = plain if name in ONE_FRAME else plain[:, order]
    assert permuted.shape == expected.shape
    # every pose is another one, not only those that have moved
    assert (permuted - expected).abs().flatten(-2).amax(dim=-1).min() > 1e-6


@pytest.mark.parametrize("name", TEMPORAL)
def test_a_frame_depends_on_the_window_around_it(name: str) -> None:
    """Many-to-one nets lift the middle of their window, and sliding windows keep the middle."""
    net = build(name)
    x = torch.randn(14, 17, 2, dtype=torch.float64, requires_grad=True)
    lifted = lift_sequence(net, x, H36M_17, Lifting(sliding=True), batch_size=3 * FRAMES)
    assert lifted.shape == (14, 17, 3)
    for frame in (0, 3, 7, 13):
        (gradient,) = torch.autograd.grad(lifted[frame].square().sum(), x, retain_graph=True)
        touched = gradient.flatten(1).abs().amax(dim=1).nonzero().flatten().tolist()
        assert touched == list(range(max(0, frame - 4), min(14, frame + 5)))


@pytest.mark.parametrize("name", TEMPORAL)
@torch.no_grad()
def test_a_frame_is_lifted_as_the_middle_of_its_own_window(name: str) -> None:
    net = build(name)
    x = torch.randn(12, 17, 2, dtype=torch.float64)
    found = lift_sequence(net, x, H36M_17, Lifting(sliding=True), batch_size=3 * FRAMES)
    padded = torch.cat([x[:1].expand(4, -1, -1), x, x[-1:].expand(4, -1, -1)])
    windows = padded.unfold(0, FRAMES, 1).permute(0, 3, 1, 2)
    lifted = net(windows)
    assert lifted.shape[1] == (1 if name in ONE_FRAME else FRAMES)
    expected = lifted[:, lifted.shape[1] // 2]
    # frames that are repeated beyond the ends are equally near to MotionAGFormer's frames: which
    # of them is a neighbour depends on the last bit
    compared = slice(4, -4) if name == "motionagformer" else slice(None)
    torch.testing.assert_close(found[compared], expected[compared], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_a_prediction_does_not_depend_on_the_rest_of_its_batch(name: str) -> None:
    net = build(name)
    x = clips(net, 5)
    whole = net(x)
    assert torch.equal(whole, net(x))
    alone = torch.cat([net(clip[None]) for clip in x])
    torch.testing.assert_close(alone, whole, rtol=1e-9, atol=1e-11)


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(5)),
    size=st.integers(1, 5),
    denoiser=st.sampled_from(["d3dp", "d3dp of ktpformer"]),
    flip=st.booleans(),
    iterations=st.integers(1, 3),
)
@torch.no_grad()
def test_one_hypothesis_of_fixed_noise_is_a_function_of_its_clip(
    order: list[int], size: int, denoiser: str, flip: bool, iterations: int
) -> None:
    net = build(denoiser)
    assert isinstance(net, D3DP)
    x = clips(net, 5)
    lifting = Lifting(flip=flip, iterations=iterations)
    state = torch.get_rng_state()
    whole = lift_clips(net, x, H36M_17, lifting)
    parts = [lift_clips(net, part, H36M_17, lifting) for part in torch.split(x[order], size)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(torch.cat(parts), whole[order], rtol=1e-9, atol=1e-11)
    assert torch.equal(whole, lift_clips(net, x, H36M_17, lifting))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**30), hypotheses=st.integers(1, 5), align=st.booleans())
@torch.no_grad()
def test_of_hypotheses_the_choice_for_each_joint_by_the_truth_is_best(
    seed: int, hypotheses: int, align: bool
) -> None:
    net = build("d3dp")
    assert isinstance(net, D3DP)
    found = net.hypothesise(clips(net, seed=seed), hypotheses=hypotheses, iterations=2, flip=True)
    found = found - found[..., :1, :]
    generator = torch.Generator().manual_seed(seed)
    target = 0.5 * torch.randn(found.shape[1:], dtype=found.dtype, generator=generator)
    on_screen = torch.rand(found.shape[:-1], dtype=found.dtype, generator=generator)
    best = j_best(found, target, align=align)
    slack = 1e-12
    assert (best <= j_agg(found, target, on_screen, align=align) + slack).all()
    assert (best <= p_best(found, target, align=align) + slack).all()
    if not align:
        each = mpjpe(found, target.expand_as(found))
        assert (best <= each + slack).all()
        assert (p_best(found, target) <= each + slack).all()
