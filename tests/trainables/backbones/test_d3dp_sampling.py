"""D3DP's sampler against a plain one, and what its hypotheses must do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.backbones.test_d3dp import clips, noise_for, small
from trainables.backbones.d3dp import D3DP
from trainables.seal.mirroring import mirror
from trainables.skeletons import H36M_17, MPI_INF_3DHP_17, Skeleton


def plain_sample(net: D3DP, x: Tensor, noise: Tensor, skeleton: Skeleton) -> Tensor:
    """One hypothesis of one clip as the official code has it, in NumPy's float64 tables."""
    u = np.arange(1001) / 1000
    g = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    bars = np.cumprod(1 - np.clip(1 - g[1:] / g[:-1], 0, 0.999))
    times = np.linspace(-1, 999, len(noise) + 1).astype(int)[::-1].tolist()
    current, results = noise[0], []
    for k, (t, s) in enumerate(itertools.pairwise(times)):
        z = current.clamp(-1.1, 1.1)
        step = torch.tensor([t])
        plain = net.denoiser(x[None], z[None], step)[0]
        flipped = net.denoiser(mirror(x, skeleton)[None], mirror(z, skeleton)[None], step)[0]
        start = ((plain + mirror(flipped, skeleton)) / 2).clamp(-1.1, 1.1)
        results.append(start)
        if s < 0:
            break
        found = (np.sqrt(1 / bars[t]) * current - start) / np.sqrt(1 / bars[t] - 1)
        sigma = np.sqrt((1 - bars[t] / bars[s]) * (1 - bars[s]) / (1 - bars[t]))
        current = (
            np.sqrt(bars[s]) * start
            + np.sqrt(1 - bars[s] - sigma**2) * found
            + sigma * noise[k + 1]
        )
    return torch.stack(results)


@pytest.mark.parametrize("denoiser", ["mixste", "ktpformer"])
@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17])
@pytest.mark.parametrize("iterations", [1, 4])
@torch.no_grad()
def test_sampler_equals_a_plain_one(skeleton: Skeleton, iterations: int, denoiser: str) -> None:
    net = small(skeleton=skeleton, denoiser=denoiser)
    x = clips(2)
    noise = noise_for(net, 2, hypotheses=3, iterations=iterations)
    found = net.sample(x, noise)
    assert found.shape == (iterations, 3, 2, 4, 17, 3)
    for h in range(3):
        for b in range(2):
            expected = plain_sample(net, x[b], noise[:, h, b], skeleton)
            torch.testing.assert_close(found[:, h, b], expected, rtol=1e-7, atol=1e-9)


@torch.no_grad()
def test_noise_decides_the_samples() -> None:
    net = small()
    noise = noise_for(net, 2, hypotheses=2, iterations=3)
    before = torch.get_rng_state()
    assert torch.equal(net.sample(clips(), noise), net.sample(clips(), noise))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(noise, noise_for(net, 2, hypotheses=2, iterations=3))
    other = net.sample(clips(), noise_for(net, 2, hypotheses=2, iterations=3, seed=3))
    assert not torch.equal(net.sample(clips(), noise)[-1], other[-1])
    hypotheses = net.sample(clips(), noise)[-1]
    assert not torch.equal(hypotheses[0], hypotheses[1])


@torch.no_grad()
def test_noise_is_standard_normal_and_torchs_own_without_a_generator() -> None:
    net = small()
    noise = net.draw_noise(20, hypotheses=5, iterations=3)
    assert noise.shape == (3, 5, 20, 4, 17, 3)
    assert noise.dtype == torch.float64
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    torch.manual_seed(7)
    first = net.draw_noise(1, hypotheses=1, iterations=1)
    torch.manual_seed(7)
    assert torch.equal(first, net.draw_noise(1, hypotheses=1, iterations=1))


@pytest.mark.parametrize("max_clips", [1, 4, 100])
@torch.no_grad()
def test_samples_do_not_depend_on_how_many_clips_are_seen_at_a_time(max_clips: int) -> None:
    net = small()
    noise = noise_for(net, 3, hypotheses=2, iterations=2)
    sizes: list[int] = []
    handle = net.denoiser.register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0]))
    )
    part = net.sample(clips(3), noise, max_clips=max_clips)
    handle.remove()
    assert max(sizes) == min(max_clips, 6)
    torch.testing.assert_close(part, net.sample(clips(3), noise))


@pytest.mark.parametrize("flip", [False, True])
@torch.no_grad()
def test_hypotheses_come_from_noise_that_clips_and_calls_share(flip: bool) -> None:
    net = small(noise_seed=4)
    x = clips(3)
    noise = noise_for(net, 1, hypotheses=3, iterations=2, seed=4)
    found = net.hypothesise(x, hypotheses=3, iterations=2, flip=flip)
    assert found.shape == (3, 3, 4, 17, 3)
    torch.testing.assert_close(found, net.sample(x, noise, flip=flip)[-1])
    before = torch.get_rng_state()
    assert torch.equal(found, net.hypothesise(x, hypotheses=3, iterations=2, flip=flip))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(found[0], found[1])
    reseeded = small(noise_seed=5).hypothesise(x, hypotheses=3, iterations=2, flip=flip)
    assert not torch.allclose(found, reseeded)


@torch.no_grad()
def test_a_generator_gives_each_clip_noise_of_its_own() -> None:
    net = small()
    x = clips(1).expand(3, -1, -1, -1)
    generator = torch.Generator().manual_seed(6)
    noise = noise_for(net, 3, hypotheses=2, iterations=2, seed=6)
    before = torch.get_rng_state()
    first, second = (
        net.hypothesise(x, hypotheses=2, iterations=2, flip=False, generator=generator)
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(first, net.sample(x, noise, flip=False)[-1])
    assert not torch.allclose(first, second)  # fresh noise
    assert not torch.allclose(first[:, 0], first[:, 1])  # of the same clip


@torch.no_grad()
def test_forward_is_one_hypothesis_after_one_iteration() -> None:
    net = small(noise_seed=4)
    x = clips(3)
    noise = noise_for(net, 1, hypotheses=1, iterations=1, seed=4)
    torch.testing.assert_close(net(x), net.sample(x, noise, flip=False)[0, 0])
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17])
@torch.no_grad()
def test_samples_of_mirror_images_are_mirror_images(skeleton: Skeleton) -> None:
    x = clips()
    equal = []
    for flip in (True, False):
        net = small(skeleton=skeleton)
        noise = noise_for(net, 2, hypotheses=2, iterations=3)
        mirrored = net.sample(mirror(x, skeleton), mirror(noise, skeleton), flip=flip)
        plain = net.sample(x, noise, flip=flip)
        equal.append(torch.allclose(mirrored, mirror(plain, skeleton)))
    assert equal == [True, False]


@torch.no_grad()
def test_predictions_are_clamped() -> None:
    net = small()
    dict(net.named_parameters())["denoiser.blocks.head.weight"].mul_(100)
    result = net.sample(clips(), noise_for(net, 2, hypotheses=1, iterations=2))
    assert result.abs().max().item() == pytest.approx(1.1)
