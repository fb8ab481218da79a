"""Negatives: discs, ranks, what is lifted how, and which the objective sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from trainables.builders import build_backbone
from trainables.config import TrainingConfig
from trainables.data.h36m.cameras import CAMERAS
from trainables.seal.negatives import (
    NegativePool,
    build_pool,
    disc_noise,
    lift_in_evaluation,
    rank_pairs,
)
from trainables.seal.projection import Views, camera_row
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
