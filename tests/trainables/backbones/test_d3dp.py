"""D3DP against the official class and a plain sampler, and what it must and must not do."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainables.backbones.check_values import (
    assert_check_values,
    assert_default_initialisation,
    assert_every_parameter_learns,
    count_on_meta,
    fill,
    official_mixste,
    synthetic,
    weyl,
)
from trainables.backbones._denoisers import KTPDenoiser
from trainables.backbones.d3dp import D3DP, cosine_alpha_bars, sampling_times
from trainables.backbones.official.d3dp import OFFICIAL_BUFFERS, convert_d3dp
from trainables.errors import CheckpointError, ShapeError
from trainables.metrics.functional import mpjpe
from trainables.metrics.hypotheses import j_agg, j_best, p_agg, p_best
from trainables.seal.mirroring import mirror
from trainables.skeletons import H36M_17, MPI_INF_3DHP_17, Skeleton
from trainables.windows import Window


def small(**options: Any) -> D3DP:
    """A small net, its position tables away from zero, where they start."""
    torch.manual_seed(0)
    sizes = {"skeleton": H36M_17, "frames": 4, "width": 8, "depth": 2, "heads": 2}
    net = D3DP(**{**sizes, **options})
    for name, parameter in net.named_parameters():
        if name.endswith(("_table", "_pos_embed")):
            nn.init.normal_(parameter)
    return net.double().eval()


def clips(count: int = 2, frames: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, frames, 17, 2, dtype=torch.float64, generator=generator)


def noise_for(net: D3DP, clips: int, hypotheses: int, iterations: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return net.draw_noise(clips, hypotheses=hypotheses, iterations=iterations, generator=generator)


@pytest.mark.parametrize(
    ("frames", "expected"), [(243, 34_835_459), (81, 34_752_515), (27, 34_724_867)]
)
@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17])
def test_parameter_counts_of_the_official_class(
    frames: int, expected: int, skeleton: Skeleton
) -> None:
    with torch.device("meta"):
        net = D3DP(skeleton=skeleton, frames=frames)
    assert count_on_meta(net) == expected
    assert net.window == Window(frames, "all")


def test_the_papers_size_is_the_default() -> None:
    with torch.device("meta"):
        assert count_on_meta(D3DP(skeleton=H36M_17)) == 34_835_459


@pytest.mark.parametrize(("depth", "blocks"), [(None, 8), (3, 4)])
def test_ktpformer_can_denoise(depth: int | None, blocks: int) -> None:
    with torch.device("meta"):
        net = D3DP(skeleton=H36M_17, denoiser="ktpformer", depth=depth)
    assert isinstance(net.denoiser, KTPDenoiser)
    assert len(net.denoiser.net.spatial_blocks) == blocks
    if depth is None:  # derived: KTPFormer, three more channels in, D3DP's embedding of steps
        assert count_on_meta(net) == 36_266_614 == 35_213_430 + 3_072 + 1_050_112


@torch.no_grad()
def test_ktpformer_sees_noisy_poses_and_steps() -> None:
    net = small(denoiser="ktpformer")
    noisy = torch.zeros(2, 4, 17, 3).double()
    first = net.denoiser(clips(), noisy, torch.tensor([10, 700]))
    assert first.shape == (2, 4, 17, 3)
    later = net.denoiser(clips(), noisy, torch.tensor([500, 700]))
    assert (first[0] - later[0]).abs().amax(dim=-1).min() > 1e-9
    torch.testing.assert_close(first[1], later[1])
    noisy[0] += 0.1
    noisier = net.denoiser(clips(), noisy, torch.tensor([10, 700]))
    assert (first[0] - noisier[0]).abs().amax(dim=-1).min() > 1e-9
    torch.testing.assert_close(first[1], noisier[1])


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (27, [0.072385, 0.310773, 0.273842, 0.261277, 0.331210, -0.152728, 0.232889, 0.448704]),
        pytest.param(
            243,
            [0.072170, 0.309995, 0.281337, 0.246705, 0.341247, -0.025853, 0.221252, 0.526795],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_denoiser_values_of_the_official_class(frames: int, expected: list[float]) -> None:
    net = fill(D3DP(skeleton=H36M_17, frames=frames))
    assert isinstance(net, D3DP)
    x, noisy = weyl(1, frames, 17, 2).float(), weyl(1, frames, 17, 3).float()
    with torch.no_grad():
        # stated for float32 within 1e-4; found within the last stated digit
        assert_check_values(net.denoiser(x, noisy, torch.tensor([499])), expected, tolerance=5e-6)


def test_schedule_has_the_official_values() -> None:
    bars = cosine_alpha_bars(1000)
    assert len(bars) == 1000
    assert bars[0] == pytest.approx(0.99995872, abs=1e-8)
    assert bars[1] == pytest.approx(0.99991258, abs=1e-8)
    assert bars[499] == pytest.approx(0.49384359, abs=1e-8)
    assert bars[998] == pytest.approx(2.42877e-6, rel=1e-5)
    assert bars[999] == pytest.approx(2.42877e-9, rel=1e-5)
    assert 1 - bars[0] == pytest.approx(4.1284e-5, rel=1e-4)
    assert 1 - bars[999] / bars[998] == pytest.approx(0.999)
    assert bars == sorted(bars, reverse=True)


@pytest.mark.parametrize("iterations", [1, 2, 5, 10, 20])
def test_times_are_those_of_the_official_sampler(iterations: int) -> None:
    official = torch.linspace(-1, 999, steps=iterations + 1).int().tolist()[::-1]
    pairs = sampling_times(1000, iterations)
    assert pairs == list(itertools.pairwise(official))
    assert pairs[0][0] == 999
    assert pairs[-1][1] == -1


def test_times_of_the_papers_settings() -> None:
    assert [t for t, _ in sampling_times(1000, 5)] == [999, 799, 599, 399, 199]
    assert [t for t, _ in sampling_times(1000, 20)][:2] == [999, 949]
    assert sampling_times(1000, 20)[-1] == (49, -1)
    assert all(t > s for t, s in sampling_times(1000, 7))


@pytest.mark.parametrize("iterations", [0, 1001])
def test_iterations_that_do_not_fit_are_refused(iterations: int) -> None:
    with pytest.raises(ValueError, match=f"of 1 to 1000, got {iterations}"):
        sampling_times(1000, iterations)
    with pytest.raises(ValueError, match=f"got {iterations}"):
        small().hypothesise(clips(), hypotheses=1, iterations=iterations, flip=False)


def test_steps_are_embedded_as_sines_and_cosines() -> None:
    net = small(width=8)
    seen: list[Tensor] = []

    def remember(module: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(inputs[0])

    net.denoiser.time_expand.register_forward_pre_hook(remember)
    net.denoiser(clips(), torch.zeros(2, 4, 17, 3).double(), torch.tensor([0, 999]))
    angles = [999 * math.exp(-i * math.log(10_000) / 3) for i in range(4)]
    waves = [*map(math.sin, angles), *map(math.cos, angles)]
    assert seen[0][0].tolist() == [0.0] * 4 + [1.0] * 4
    assert seen[0][1].tolist() == pytest.approx(waves, abs=1e-4)  # frequencies are float32


def test_step_and_pose_are_added_to_every_token_of_its_clip() -> None:
    net = small()
    noisy = torch.zeros(2, 4, 17, 3).double()
    early = net.denoiser(clips(), noisy, torch.tensor([10, 700]))
    late = net.denoiser(clips(), noisy, torch.tensor([500, 700]))
    assert (early[0] - late[0]).abs().amin(dim=-1).min() > 1e-9
    assert torch.equal(early[1], late[1])


def test_shares_of_signal_and_noise_keep_their_digits_in_single_precision() -> None:
    net = D3DP(skeleton=H36M_17, frames=4, width=8, depth=1, heads=2).to(torch.float32)
    bars = cosine_alpha_bars(1000)
    times = torch.arange(1000)
    one = torch.ones(1000, 1, 1, 3)
    for shares, target, noise in (
        ([math.sqrt(bar) for bar in bars], one, 0 * one),
        ([math.sqrt(1 - bar) for bar in bars], 0 * one, one),
    ):
        found = net.corrupt(target, times, noise)[:, 0, 0, 0].tolist()
        assert found == pytest.approx(shares, rel=1e-7)


def test_corruption_mixes_and_clamps() -> None:
    net = small()
    target = 0.3 * torch.randn(3, 4, 17, 3, dtype=torch.float64)
    noise = torch.randn_like(target)
    times = torch.tensor([0, 499, 999])
    noisy = net.corrupt(target, times, noise)
    bars = cosine_alpha_bars(1000)
    for i, t in enumerate(times.tolist()):
        mixed = math.sqrt(bars[t]) * target[i] + math.sqrt(1 - bars[t]) * noise[i]
        torch.testing.assert_close(noisy[i], mixed.clamp(-1.1, 1.1))
    assert noisy.abs().max() == 1.1
    torch.testing.assert_close(noisy[0], target[0], atol=0.05, rtol=0)


def test_training_predicts_from_one_step_per_clip() -> None:
    net = small()
    x, target = clips(), 0.3 * torch.randn(2, 4, 17, 3, dtype=torch.float64)
    pred = net.predict_noisy(x, target, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    times = torch.randint(1000, (2,), generator=generator)
    noise = torch.randn(target.shape, generator=generator, dtype=target.dtype)
    expected = net.denoiser(x, net.corrupt(target, times, noise), times)
    assert torch.equal(pred, expected)
    assert not torch.equal(pred, net.predict_noisy(x, target))


def test_steps_of_training_are_uniform() -> None:
    net = small(width=4, heads=1, depth=1, frames=1, steps=10)
    seen: list[Tensor] = []

    def remember(module: nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        seen.append(inputs[2])

    net.denoiser.register_forward_pre_hook(remember)
    zeros = torch.zeros(5000, 1, 17, 3, dtype=torch.float64)
    with torch.no_grad():
        net.predict_noisy(zeros[..., :2], zeros)
    shares = seen[0].bincount(minlength=10) / 5000
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.02)


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


@torch.no_grad()
def test_frames_are_not_interchangeable() -> None:
    net = small(frames=6)
    x = clips(frames=6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    noise = noise_for(net, 2, hypotheses=1, iterations=1)
    plain, permuted = net.sample(x, noise), net.sample(x[:, order], noise[:, :, :, order])
    assert not torch.allclose(permuted, plain[:, :, :, order])


@torch.no_grad()
def test_oracles_are_no_worse_than_choices_without_the_truth() -> None:
    net = small()
    hypotheses = net.sample(clips(), noise_for(net, 2, hypotheses=5, iterations=2))[-1]
    hypotheses = hypotheses - hypotheses[..., :1, :]
    target = 0.1 * torch.randn(2, 4, 17, 3, dtype=torch.float64)
    reprojection = torch.rand(hypotheses.shape[:-1], dtype=torch.float64)
    best_joints, best_pose = j_best(hypotheses, target), p_best(hypotheses, target)
    assert (best_joints <= j_agg(hypotheses, target, reprojection) + 1e-12).all()
    assert (best_joints <= best_pose + 1e-12).all()
    assert (best_pose <= mpjpe(hypotheses, target.expand_as(hypotheses)).mean(dim=0)).all()
    assert p_agg(hypotheses, target).shape == best_pose.shape == (2, 4)
    one = hypotheses[:1]
    torch.testing.assert_close(j_best(one, target), p_agg(one, target))


def test_initialisation() -> None:
    torch.manual_seed(0)
    net = D3DP(skeleton=H36M_17, frames=4, width=64, depth=2)
    parameters = dict(net.named_parameters())
    assert parameters["denoiser.blocks.spatial_table"].eq(0).all()
    assert parameters["denoiser.blocks.temporal_table"].eq(0).all()
    assert_default_initialisation(net)


def test_tables_are_no_part_of_the_state() -> None:
    names = set(dict(small().named_parameters()))
    assert set(small().state_dict()) == names


def test_gradients_reach_every_parameter() -> None:
    net = small(drop_path=0.0).train()
    pred = net.predict_noisy(clips(), 0.3 * torch.randn(2, 4, 17, 3).double())
    torch.autograd.backward(pred.square().sum())
    assert_every_parameter_learns({name: p.grad for name, p in net.named_parameters()})


@pytest.mark.parametrize("denoiser", ["mixste", "ktpformer"])
def test_small_nets_learn_and_repeat(denoiser: str) -> None:
    def errors() -> list[float]:
        net = small(width=16, denoiser=denoiser).train()
        x = 0.5 * clips(8)
        target = torch.cat([x, x.square().sum(dim=-1, keepdim=True)], dim=-1)
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)

        def test_error() -> float:
            net.eval()
            with torch.no_grad():
                error = mpjpe(net(x), target).mean().item()
            net.train()
            return error

        found = [test_error()]
        for _ in range(40):
            loss = mpjpe(net.predict_noisy(x, target), target).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return [*found, loss.item(), test_error()]

    first = errors()
    assert first[-1] < 0.7 * first[0]
    assert first == errors()


def test_wrong_shapes_are_refused() -> None:
    net = small()
    noise = noise_for(net, 2, hypotheses=1, iterations=1)
    with pytest.raises(ShapeError, match=r"clips of 4 frames.*got \(2, 5, 17, 2\)"):
        net(torch.zeros(2, 5, 17, 2))
    with pytest.raises(ShapeError, match=r"\(B, T, 17, 2\), got \(2, 4, 16, 2\)"):
        net.sample(torch.zeros(2, 4, 16, 2), noise)
    with pytest.raises(ShapeError, match=r"\(2, 4, 17, 3\), got \(2, 4, 17, 2\)"):
        net.predict_noisy(clips(), clips())
    with pytest.raises(ShapeError, match=r"\(K, H, 3 or 1, 4, 17, 3\), got \(1, 1, 2, 4, 17, 3\)"):
        net.sample(clips(3), noise)
    with pytest.raises(ShapeError, match=r"\(1, 1, 2, 4, 17, 3\), got \(1, 1, 2, 4, 16, 3\)"):
        net.sample(clips(), noise[..., :16, :])


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one hypothesis, got 0"):
        small().hypothesise(clips(), hypotheses=0, iterations=1, flip=False)
    with pytest.raises(ValueError, match="denoiser must be of mixste, ktpformer, got 'unet'"):
        small(denoiser="unet")
    with pytest.raises(ValueError, match="even and at least 4, got 7"):
        small(width=7, heads=1)
    net = small()
    with pytest.raises(ValueError, match="max_clips must be positive, got 0"):
        net.sample(clips(), noise_for(net, 1, hypotheses=1, iterations=1), max_clips=0)


def official_d3dp(depth: int, width: int, frames: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint of D3DP's authors."""
    shapes = official_mixste(depth, width, frames, coordinates=5) | {
        "time_mlp.1.weight": (2 * width, width),
        "time_mlp.1.bias": (2 * width,),
        "time_mlp.3.weight": (width, 2 * width),
        "time_mlp.3.bias": (width,),
    }
    return {f"pose_estimator.{name}": shape for name, shape in shapes.items()}


def with_tables(state: dict[str, Tensor]) -> dict[str, Tensor]:
    tables = {name: torch.ones(1000, dtype=torch.float64) for name in OFFICIAL_BUFFERS}
    tables["alphas_cumprod"] = torch.tensor(cosine_alpha_bars(1000), dtype=torch.float64)
    return {**tables, **state}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_become_ours(prefix: str) -> None:
    assert len(OFFICIAL_BUFFERS) == 12
    state = synthetic(official_d3dp(depth=2, width=8, frames=4))
    net = small().float()
    full = {prefix + name: value for name, value in with_tables(state).items()}
    net.load_state_dict(convert_d3dp(full))
    ours = net.state_dict()
    for official, name in (
        ("pose_estimator.time_mlp.1.weight", "denoiser.time_expand.weight"),
        ("pose_estimator.time_mlp.3.bias", "denoiser.time_shrink.bias"),
        ("pose_estimator.TTEblocks.1.norm1.bias", "denoiser.blocks.temporal_blocks.1.norm1.bias"),
        ("pose_estimator.Spatial_patch_to_embedding.weight", "denoiser.embed.weight"),
    ):
        assert torch.equal(ours[name], state[official])
    assert len(ours) == len(state)
    assert set(convert_d3dp(state)) == set(ours)  # tables may be left out


def test_full_size_official_checkpoints_fit() -> None:
    with torch.device("meta"):
        net = D3DP(skeleton=MPI_INF_3DHP_17)
        shapes = official_d3dp(depth=8, width=512, frames=243)
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    net.load_state_dict(convert_d3dp(state), assign=True)


def test_what_is_unknown_or_missing_is_listed() -> None:
    state = with_tables(synthetic(official_d3dp(depth=2, width=8, frames=4)))
    state["extra"] = state.pop("pose_estimator.time_mlp.1.bias")
    message = r"D3DP: 1 unknown: extra; 1 missing: pose_estimator\.time_mlp\.1\.bias"
    with pytest.raises(CheckpointError, match=message):
        convert_d3dp(state)


def test_another_schedule_is_refused() -> None:
    state = with_tables(synthetic(official_d3dp(depth=2, width=8, frames=4)))
    state["alphas_cumprod"] = torch.linspace(1, 0, 1000, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="1000 steps, are not those of the cosine schedule"):
        convert_d3dp(state)
