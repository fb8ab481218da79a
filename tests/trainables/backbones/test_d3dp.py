"""D3DP against the official class and a plain sampler, and what it must and must not do."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.backbones.check_values import (
    assert_check_values,
    assert_default_initialisation,
    assert_every_parameter_learns,
    count_on_meta,
    fill,
    weyl,
)
from trainables.backbones._denoisers import KTPDenoiser
from trainables.backbones.d3dp import D3DP, cosine_alpha_bars, sampling_times
from trainables.errors import ShapeError
from trainables.metrics.functional import mpjpe
from trainables.metrics.hypotheses import j_agg, j_best, p_agg, p_best
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

        def error_on_clean_poses() -> float:
            net.eval()
            with torch.no_grad():
                error = mpjpe(net(x), target).mean().item()
            net.train()
            return error

        found = [error_on_clean_poses()]
        for _ in range(40):
            loss = mpjpe(net.predict_noisy(x, target), target).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return [*found, loss.item(), error_on_clean_poses()]

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
