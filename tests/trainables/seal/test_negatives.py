"""Negatives: discs, ranks, what is lifted how, and which the objective sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from trainables.backbones import D3DP
from trainables.builders import build_backbone, build_loss_net, build_loss_optimizer
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.data.h36m.cameras import CAMERAS
from trainables.errors import ShapeError
from trainables.seal.loss_net_step import LossNetStep
from trainables.seal.negatives import (
    NegativePool,
    build_pool,
    clips_at_a_time,
    disc_noise,
    lift_in_evaluation,
    rank_pairs,
)
from trainables.seal.projection import Views, camera_row, reprojection_errors
from trainables.seal.trainer import SealTrainer
from trainables.skeletons import H36M_17

MakeConfig = Callable[..., TrainingConfig]
CPU = torch.device("cpu")


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_displacements_fill_the_disc_evenly() -> None:
    noise = disc_noise(torch.zeros(50, 2, 17, 2), 6, 0.25, stream()).flatten(0, -2)
    reach = torch.linalg.vector_norm(noise, dim=-1)
    assert reach.max() <= 0.25
    area = (reach / 0.25).square().numpy()  # uniform in a disc: so is the area within reach
    angle = torch.atan2(noise[:, 1], noise[:, 0]).numpy()
    assert stats.kstest(area, "uniform").pvalue > 0.01
    assert stats.kstest(angle, "uniform", args=(-torch.pi, 2 * torch.pi)).pvalue > 0.01


def test_displacements_are_those_of_the_stream_in_every_precision() -> None:
    like = torch.zeros(3, 1, 17, 2)
    one, other = disc_noise(like, 2, 0.1, stream(7)), disc_noise(like.double(), 2, 0.1, stream(7))
    assert other.dtype == torch.float64
    torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-7)
    assert not torch.equal(one, disc_noise(like, 2, 0.1, stream(8)))
    assert not torch.equal(one[0], one[1])


@given(count=st.integers(2, 9), seed=st.integers(0, 2**30))
def test_pairs_are_neighbours_and_as_many_at_random(count: int, seed: int) -> None:
    worse, better = rank_pairs(count, stream(seed), CPU)
    assert len(worse) == len(better) == 2 * (count - 1)
    neighbours = [(rank + 1, rank) for rank in range(count - 1)]
    pairs = list(zip(worse.tolist(), better.tolist(), strict=True))
    assert pairs[: count - 1] == neighbours
    assert all(0 <= low < high < count for high, low in pairs)


def test_random_pairs_come_in_all_kinds() -> None:
    source = stream()
    found = set()
    for _ in range(60):
        worse, better = rank_pairs(4, source, CPU)
        found |= set(zip(worse[3:].tolist(), better[3:].tolist(), strict=True))
    assert found == {(high, low) for high in range(4) for low in range(high)}


@pytest.mark.parametrize("training", [True, False])
def test_lifting_in_evaluation_leaves_no_trace(make_config: MakeConfig, training: bool) -> None:
    net = build_backbone(make_config(), H36M_17).train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator_before = torch.get_rng_state()
    x = torch.randn(6, 1, 17, 2, generator=stream())
    pred = lift_in_evaluation(net, x)
    assert net.training is training
    assert all(m.training is training for m in net.modules())
    assert not pred.requires_grad
    assert torch.equal(torch.get_rng_state(), generator_before)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    alone = lift_in_evaluation(net, x[:1])
    torch.testing.assert_close(alone, pred[:1])  # each pose on its own


def make_pool(
    config: TrainingConfig, net: nn.Module, views: Views | None = None
) -> tuple[NegativePool, Tensor, Tensor]:
    x = 0.3 * torch.randn(4, 1, 17, 2, generator=stream(1))
    y = 0.3 * torch.randn(4, 1, 17, 3, generator=stream(2))
    prediction = lift_in_evaluation(net, x)
    pool = build_pool(
        config,
        pose_net=net,
        x=x,
        y=y,
        prediction=prediction,
        views=views,
        stream=stream(3),
    )
    return pool, prediction, y


@pytest.mark.parametrize(
    ("fields", "poses", "seen"),
    [
        ({}, 1, [0]),
        ({"negatives": "perturbation"}, 3, [0, 1, 2]),
        ({"negatives": "both"}, 4, [0, 1, 2, 3]),
        ({"pair_weight": 0.1}, 4, [0]),
        ({"negatives": "perturbation", "pair_weight": 0.1}, 3, [0, 1, 2]),
    ],
)
def test_the_pool_holds_each_negative_once(
    make_config: MakeConfig, fields: dict[str, object], poses: int, seen: list[int]
) -> None:
    config = make_config(**fields)
    net = build_backbone(config, H36M_17)
    pool, prediction, _ = make_pool(config, net)
    assert len(pool.poses) == poses
    assert torch.equal(pool.for_objective(pool.poses), pool.poses[seen])
    if pool.predictions:
        assert torch.equal(pool.poses[0], prediction)
    if pool.disturbance is not None:
        assert len(pool.poses[pool.perturbed]) == len(pool.disturbance) == 3
        assert (pool.disturbance > 0).all()
        assert (pool.disturbance < config.perturbation_radius).all()


@pytest.mark.parametrize("pair_weight", [0.0, 0.1])
def test_a_hard_negative_is_the_one_that_looks_most_like_the_truth(
    make_config: MakeConfig, pair_weight: float
) -> None:
    config = make_config(
        negatives="both",
        hard_negatives=True,
        perturbation_radius=0.5,
        pair_weight=pair_weight,
    )
    net = build_backbone(config, H36M_17)
    camera = torch.tensor(camera_row(CAMERAS["54138969"])).expand(4, 1, 9)
    views = Views(torch.tensor([0.1, -0.2, 4.0]).expand(4, 1, 3), camera)
    pool, _, y = make_pool(config, net, views)
    (hard,) = pool.for_objective(pool.poses)
    everything, _, _ = make_pool(config.model_copy(update={"hard_negatives": False}), net)
    root = views.root.unsqueeze(-2)
    focal, center = camera[0, 0, :2], camera[0, 0, 2:4]

    def look(poses: Tensor) -> Tensor:
        """Pinhole only: the lens changes no order here."""
        points = poses + root
        return points[..., :2] / points[..., 2:] * focal + center

    errors = torch.linalg.vector_norm(look(everything.poses) - look(y), dim=-1).mean(dim=-1)
    for b in range(4):
        best = int(errors[:, b, 0].argmin())
        assert torch.equal(hard[b], everything.poses[best, b])
    assert len({int(k) for k in errors[..., 0].argmin(dim=0)}) > 1  # not always the same


def test_hard_negatives_without_views_are_a_fault_of_the_caller(make_config: MakeConfig) -> None:
    config = make_config(negatives="both", hard_negatives=True)
    with pytest.raises(ValueError, match="views are needed"):
        make_pool(config, build_backbone(config, H36M_17))


FRAMES = 5
D3DP_FIELDS: dict[str, object] = {
    "backbone": "d3dp",
    "backbone_options": {"frames": FRAMES, "width": 8, "heads": 2, "depth": 1},
    "negatives": "hypotheses",
    "num_hypotheses": 3,
    "hypothesis_iterations": 2,
    "data": {"frames": FRAMES},
}


def clip_pool(
    config: TrainingConfig, net: nn.Module, views: Views | None = None, seed: int = 3
) -> tuple[NegativePool, Tensor, Tensor, Tensor]:
    x = 0.3 * torch.randn(4, FRAMES, 17, 2, generator=stream(1))
    y = 0.3 * torch.randn(4, FRAMES, 17, 3, generator=stream(2))
    prediction = lift_in_evaluation(net, x)
    pool = build_pool(
        config,
        pose_net=net,
        x=x,
        y=y,
        prediction=prediction,
        views=views,
        stream=stream(seed),
    )
    return pool, x, y, prediction


@pytest.mark.parametrize("denoiser", ["mixste", "ktpformer"])
def test_hypotheses_are_sampled_from_the_stream_without_a_trace(
    make_config: MakeConfig, denoiser: str
) -> None:
    options = {"frames": FRAMES, "width": 8, "heads": 2, "depth": 1, "denoiser": denoiser}
    config = make_config(**{**D3DP_FIELDS, "backbone_options": options})
    net = build_backbone(config, H36M_17).train()
    assert isinstance(net, D3DP)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    global_before = torch.get_rng_state()
    pool, x, _, _ = clip_pool(config, net)
    # the pose-net's dropout and noise are those of a baseline
    assert torch.equal(torch.get_rng_state(), global_before)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not pool.poses.requires_grad
    assert pool.predictions == 0
    assert pool.poses.shape == (3, 4, FRAMES, 17, 3)
    assert torch.equal(pool.for_objective(pool.poses), pool.poses)
    noise = net.draw_noise(4, hypotheses=3, iterations=2, generator=stream(3))
    with torch.no_grad():
        expected = net.eval().sample(x, noise, flip=False)[-1]
    torch.testing.assert_close(pool.poses, expected)
    again, other = (clip_pool(config, net, seed=seed)[0] for seed in (3, 4))
    assert torch.equal(pool.poses, again.poses)
    assert not torch.allclose(pool.poses, other.poses)  # new in every step


@pytest.mark.parametrize(
    ("fields", "predictions", "perturbed"),
    [
        ({}, 0, 0),
        ({"window_weight": 0.5}, 1, 0),
        ({"pair_weight": 0.5, "num_perturbations": 2}, 0, 2),
        ({"pair_weight": 0.5, "num_perturbations": 2, "window_weight": 0.5}, 1, 2),
    ],
)
def test_hypotheses_come_after_what_the_other_terms_look_at(
    make_config: MakeConfig, fields: dict[str, object], predictions: int, perturbed: int
) -> None:
    config = make_config(**D3DP_FIELDS, **fields)
    net = build_backbone(config, H36M_17)
    pool, _, _, prediction = clip_pool(config, net)
    assert len(pool.poses) == predictions + perturbed + 3
    seen = pool.for_objective(pool.poses)
    assert torch.equal(seen, pool.poses[predictions + perturbed :])
    assert pool.predictions == predictions
    assert len(pool.poses[pool.perturbed]) == perturbed
    if predictions:
        assert torch.equal(pool.poses[0], prediction)
    if perturbed:
        assert pool.disturbance is not None
        assert pool.disturbance.shape == (2, 4, FRAMES)


@pytest.mark.parametrize("window_weight", [0.0, 0.5])
def test_the_hard_hypothesis_is_the_one_that_looks_most_like_the_truth(
    make_config: MakeConfig, window_weight: float
) -> None:
    config = make_config(**D3DP_FIELDS, hard_negatives=True, window_weight=window_weight)
    net = build_backbone(config, H36M_17)
    camera = torch.tensor(camera_row(CAMERAS["54138969"])).expand(4, FRAMES, 9)
    views = Views(torch.tensor([0.1, -0.2, 4.0]).expand(4, FRAMES, 3), camera)
    pool, _, y, _ = clip_pool(config, net, views)
    (hard,) = pool.for_objective(pool.poses)
    every, _, _, _ = clip_pool(config.model_copy(update={"hard_negatives": False}), net)
    candidates = every.for_objective(every.poses)
    errors = reprojection_errors(candidates, y, views).mean(dim=-1)
    best = errors.argmin(dim=0)
    for b in range(4):
        for t in range(FRAMES):
            assert torch.equal(hard[b, t], candidates[int(best[b, t]), b, t])
    assert len(set(best.flatten().tolist())) > 1


def test_nets_without_hypotheses_cannot_give_any(make_config: MakeConfig) -> None:
    config = make_config(**D3DP_FIELDS)
    net = build_backbone(make_config(), H36M_17)
    with pytest.raises(ShapeError, match="VideoPose does not"):
        build_pool(
            config,
            pose_net=net,
            x=torch.zeros(1, 1, 17, 2),
            y=torch.zeros(1, 1, 17, 3),
            prediction=torch.zeros(1, 1, 17, 3),
            views=None,
            stream=None,
        )


@pytest.mark.parametrize("objective", ["margin", "nce"])
def test_the_loss_net_learns_from_every_hypothesis(
    make_config: MakeConfig, objective: str
) -> None:
    config = make_config(**D3DP_FIELDS, objective=objective)
    net = build_backbone(config, H36M_17)
    pool, x, y, _ = clip_pool(config, net)
    loss_net = build_loss_net(config, H36M_17)
    assert loss_net is not None
    with torch.no_grad():
        energies = loss_net(x, torch.cat([y.unsqueeze(0), pool.poses]))
        true, negatives = energies[0], energies[1:]
        if objective == "nce":
            expected = (energies.neg().logsumexp(dim=0) + true).mean()
        else:
            margins = torch.linalg.vector_norm(pool.poses - y, dim=-1).mean(dim=-1)
            expected = (margins - negatives + true).clamp(min=0).amax(dim=0).mean()
    update = LossNetStep(
        config, loss_net=loss_net, optimizer=build_loss_optimizer(config, loss_net)
    )
    figures = update(x, y, pool, stream())
    assert figures["train_loss_net_loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert figures["train_energy_pred"].item() == pytest.approx(negatives.mean().item(), rel=1e-4)


@pytest.mark.parametrize("negatives", ["hypotheses", "perturbation"])
@pytest.mark.parametrize("variant", ["dynamic", "static"])
def test_diffusion_trains_with_its_negatives_and_as_its_baseline_with_alpha_of_no_weight(
    make_config: MakeConfig, tiny_dataset: PoseDataset, variant: str, negatives: str
) -> None:
    fields = {**D3DP_FIELDS, "negatives": negatives, "variant": variant, "batch_size": 8}
    if negatives != "hypotheses":
        fields = {k: v for k, v in fields.items() if k not in ("num_hypotheses",)}
        fields.pop("hypothesis_iterations")
    if variant == "static":
        fields["static_epochs"] = 1
    config = make_config(**fields, alpha=1e-30, epochs=1, steps_per_epoch=3)
    trained, baseline = (
        SealTrainer(c, tiny_dataset, device=CPU) for c in (config, config.without_loss_net())
    )
    figures = trained.run_epoch()
    baseline.run_epoch()
    name = "static_loss_net_loss" if variant == "static" else "train_loss_net_loss"
    assert figures[name] > 0
    pairs = zip(trained.pose_net.parameters(), baseline.pose_net.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize(
    ("fields", "clips"),
    [
        ({"negatives": "perturbation"}, [2] * 6),
        ({"negatives": "hypotheses", "num_hypotheses": 3, "hypothesis_iterations": 2}, [2] * 12),
    ],
)
def test_negatives_of_a_batch_in_parts_are_lifted_in_parts(
    make_config: MakeConfig, fields: dict[str, object], clips: list[int]
) -> None:
    net_fields = {name: D3DP_FIELDS[name] for name in ("backbone", "backbone_options", "data")}
    whole = make_config(**net_fields, **fields, batch_size=4)
    parts = whole.model_copy(update={"accumulate": 2})
    net = build_backbone(whole, H36M_17)
    assert isinstance(net, D3DP)
    seen: list[int] = []
    net.denoiser.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    expected = clip_pool(whole, net)[0].poses
    assert max(seen) >= 4
    seen.clear()
    found = clip_pool(parts, net)[0].poses
    assert seen[1:] == clips  # after the prediction, which is none of the pool's
    torch.testing.assert_close(found, expected)


def test_a_prediction_in_evaluation_mode_is_lifted_in_parts() -> None:
    net = D3DP(skeleton=H36M_17, frames=FRAMES, width=8, heads=2, depth=1)
    seen: list[int] = []
    net.denoiser.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    x = 0.3 * torch.randn(5, FRAMES, 17, 2, generator=stream(1))
    found = lift_in_evaluation(net, x, max_clips=2)
    assert seen == [2, 2, 1]
    torch.testing.assert_close(found, lift_in_evaluation(net, x))
    with pytest.raises(ValueError, match="max_clips must be positive, got 0"):
        net.hypothesise(x, hypotheses=1, iterations=1, flip=False, max_clips=0)


@pytest.mark.parametrize(
    ("accumulate", "batch_size", "clips"), [(1, 16, None), (2, 16, 8), (3, 16, 6), (3, 3, 1)]
)
def test_a_part_of_a_batch_passes_at_a_time(
    make_config: MakeConfig, accumulate: int, batch_size: int, clips: int | None
) -> None:
    config = make_config(accumulate=accumulate, batch_size=batch_size)
    assert clips_at_a_time(config) == clips
