"""The alternating step against Algorithm 1 written out plainly, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.loss_nets.plain import plain_energy
from tests.trainables.seal.reference import Energy, PlainBatch, PlainTrainer
from trainables.builders import Optimizers, build_backbone, build_loss_net, build_optimizers
from trainables.config import TrainingConfig
from trainables.data.h36m.cameras import CAMERAS
from trainables.seal.projection import Views, camera_row
from trainables.seal.step import AlternatingStep
from trainables.skeletons import H36M_17

STEPS = 20
BATCH = 4

MakeConfig = Callable[..., TrainingConfig]

SMALL_LOSS_NETS: dict[str, dict[str, int]] = {
    "graph": {"width": 8, "depth": 2, "heads": 2, "joint_dim": 3},
    "mlp": {"hidden": 8},
}
SMALL_SEMGCN = {"channels": 8, "stages": 1}
OPTIONS: dict[str, dict[str, object]] = {
    "default": {},
    "subset": {"energy_poses": 3, "pose_loss": "backbone"},
    "authors": {
        "negatives_from": "eval_forward",
        "loss_optimizer": "adamw",
        "pose_loss": "mse_sum",
    },
    "simplebaseline": {"backbone": "simplebaseline", "grad_clip": 0.05},
    "constraints": {"length_weight": 0.3, "symmetry_weight": 0.2},
    "perturbation": {"negatives": "perturbation", "num_perturbations": 3},
    "both": {"negatives": "both", "negatives_from": "eval_forward", "perturbation_radius": 0.3},
    "pairs": {"pair_weight": 0.7, "pair_scale": 1.7, "num_perturbations": 4},
    "pairs of both": {
        "negatives": "both",
        "pair_weight": 0.7,
        "perturbation_radius": 0.2,
        "energy_poses": 4,
    },
    "hard": {"negatives": "both", "hard_negatives": True, "perturbation_radius": 0.2},
    "hard pairs": {
        "negatives": "perturbation",
        "hard_negatives": True,
        "pair_weight": 0.5,
        "perturbation_radius": 0.2,
    },
    "windows": {
        "data": {"frames": 4},
        "window_weight": 0.8,
        "window_frames": 2,
        "window_shift": 2,
        "pair_scale": 0.5,
    },
    "windows beside perturbation": {
        "data": {"frames": 4},
        "window_weight": 0.8,
        "negatives": "perturbation",
        "hard_negatives": True,
    },
}


def plain_batches(frames: int = 1) -> list[PlainBatch]:
    stream = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(BATCH, frames, *shape, generator=stream, dtype=torch.float64)

    cameras = tuple(list(CAMERAS.values())[b % 4] for b in range(BATCH))
    depth = torch.tensor([0.0, 0.0, 5.0], dtype=torch.float64)
    return [
        PlainBatch(normal(17, 2), 0.4 * normal(17, 3), 0.2 * normal(3) + depth, cameras)
        for _ in range(STEPS)
    ]


def views_of(batch: PlainBatch, dtype: torch.dtype) -> Views:
    rows = torch.tensor([camera_row(camera) for camera in batch.cameras], dtype=torch.float64)
    cameras = rows[:, None].expand(-1, batch.x.shape[1], -1)
    return Views(batch.root.to(dtype), cameras.to(dtype))


def batches() -> list[tuple[Tensor, Tensor]]:
    return [(batch.x, batch.y) for batch in plain_batches()]


def build(config: TrainingConfig) -> tuple[nn.Module, nn.Module]:
    pose_net = build_backbone(config, H36M_17).double().train()
    loss_net = build_loss_net(config, H36M_17)
    assert loss_net is not None
    return pose_net, loss_net.double().train()


def run_both(
    config: TrainingConfig, dtype: torch.dtype, *, plain_net: bool = False
) -> list[tuple[nn.Module, nn.Module, nn.Module]]:
    """Each net after the steps, as the reference has it, and as it began."""
    nets = build(config)
    start, expected = copy.deepcopy(nets), copy.deepcopy(nets)
    plain = PlainTrainer(
        config,
        H36M_17,
        pose_net=expected[0],
        loss_net=expected[1],
        energy=plain_frames(expected[1]) if plain_net else None,
        stream=torch.Generator().manual_seed(3),
    )
    stream = torch.Generator().manual_seed(3)
    pose_net, loss_net = (net.to(dtype) for net in nets)
    update = AlternatingStep(
        config,
        skeleton=H36M_17,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=build_optimizers(config, pose_net, loss_net),
    )
    for batch in plain_batches(config.data.frames):
        plain.step(batch)
        x, y = batch.x.to(dtype), batch.y.to(dtype)
        views = views_of(batch, dtype) if config.hard_negatives else None
        update(x, y, views=views, stream=stream)
    return list(zip(nets, expected, start, strict=True))


def plain_frames(loss_net: nn.Module) -> Energy:
    """The energy of a clip written out plainly, frame by frame."""

    def energy(x: Tensor, y: Tensor) -> Tensor:
        frames = zip(x[0], y[0], strict=True)
        return torch.stack([plain_energy(loss_net, *frame, H36M_17) for frame in frames])

    return energy


def relative_error(net: nn.Module, expected: nn.Module, origin: nn.Module | None) -> float:
    """Distance of the parameters, by the length of the expected ones (from an origin)."""
    difference = length = 0.0
    for name, parameter in net.named_parameters():
        reference = expected.get_parameter(name)
        zero = 0.0 if origin is None else origin.get_parameter(name)
        difference += (parameter.double() - reference).square().sum().item()
        length += (reference - zero).square().sum().item()
    return float((difference / length) ** 0.5)


IN_FULL = ("default", "perturbation", "both", "pairs")
CASES = [
    (loss_net, objective, name)
    for name in OPTIONS
    for loss_net, objective in (
        *(("graph", "margin"), ("mlp", "nce")),
        *((("graph", "nce"), ("mlp", "margin")) if name in IN_FULL else ()),
    )
]
"""Both nets with both objectives where these matter, each of them once elsewhere."""


@pytest.mark.parametrize(("loss_net_name", "objective", "name"), CASES)
def test_steps_equal_algorithm_1(
    make_config: MakeConfig, loss_net_name: str, objective: str, name: str
) -> None:
    config = make_config(
        **{
            "loss_net": loss_net_name,
            "objective": objective,
            "backbone_options": {"channels": 32, "dropout": 0.0},
            "alpha": 0.3,
            **({"margin_scale": 2.5} if objective == "margin" else {}),
            **OPTIONS[name],
        }
    )
    for net, expected, start in run_both(config, torch.float64):
        assert relative_error(net, expected, None) < 1e-6
        # in relation to the path, too, so that small steps cannot hide a wrong direction
        assert relative_error(net, expected, start) < 1e-6


PLAIN = [
    ("graph", "margin", {}),
    ("graph", "nce", {"negatives": "both"}),
    ("graph", "margin", {"input": "M1"}),
    ("graph", "margin", {"input": "M2"}),
    ("graph", "margin", {"input": "M4", "backbone": "semgcn", "backbone_options": SMALL_SEMGCN}),
    ("mlp", "nce", {}),
    ("mlp", "margin", {"negatives": "both"}),
    ("mlp", "margin", {"input": "M2"}),
    ("mlp", "nce", {"input": "M4", "negatives": "both"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("loss_net_name", "objective", "options"), PLAIN)
def test_steps_equal_algorithm_1_with_plain_nets(
    make_config: MakeConfig, loss_net_name: str, objective: str, options: dict[str, object]
) -> None:
    """The loss-net, too, is written out: no token left out, no 2D descriptor shared."""
    config = make_config(
        **{
            "loss_net": loss_net_name,
            "loss_net_options": SMALL_LOSS_NETS[loss_net_name],
            "objective": objective,
            "backbone_options": {"channels": 16, "dropout": 0.0},
            "alpha": 0.3,
            "num_perturbations": 2 if "negatives" in options else 3,
            "energy_poses": 1 if loss_net_name == "graph" else None,
            **options,
        }
    )
    for net, expected, start in run_both(config, torch.float64, plain_net=True):
        assert relative_error(net, expected, None) < 1e-6
        assert relative_error(net, expected, start) < 1e-6


@pytest.mark.parametrize("loss_net_name", ["graph", "mlp"])
@pytest.mark.parametrize("objective", ["margin", "nce"])
@pytest.mark.parametrize("name", ["default", "authors", "perturbation", "pairs of both"])
def test_float32_stays_close_to_float64(
    make_config: MakeConfig, loss_net_name: str, objective: str, name: str
) -> None:
    config = make_config(
        **{
            "loss_net": loss_net_name,
            "objective": objective,
            "backbone_options": {"channels": 32, "dropout": 0.0},
            # the paper's; where a gradient vanishes (the last bias, in the difference of two
            # energies), Adam takes whole steps along its rounding errors
            **{"lr_p": 1e-4, "lr_l": 1e-4, "alpha": 5e-3},
            **OPTIONS[name],
        }
    )
    for net, expected, _ in run_both(config, torch.float32):
        assert relative_error(net, expected, None) < 1e-3


@pytest.fixture
def parts(make_config: MakeConfig) -> tuple[TrainingConfig, nn.Module, nn.Module]:
    config = make_config()
    return config, *build(config)


@pytest.fixture(
    params=[{}, {"negatives": "both"}, {"negatives": "both", "negatives_from": "eval_forward"}],
    ids=["prediction", "both", "eval_forward"],
)
def any_parts(
    make_config: MakeConfig, request: pytest.FixtureRequest
) -> tuple[TrainingConfig, nn.Module, nn.Module]:
    config = make_config(**request.param)
    return config, *build(config)


def alternating(
    config: TrainingConfig,
    pose_net: nn.Module,
    loss_net: nn.Module,
    optimizers: Optimizers | None = None,
) -> AlternatingStep:
    return AlternatingStep(
        config,
        skeleton=H36M_17,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=optimizers or build_optimizers(config, pose_net, loss_net),
    )


def same(net: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_each_update_moves_its_own_net_only(
    any_parts: tuple[TrainingConfig, nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, pose_net, loss_net = any_parts
    optimizers = build_optimizers(config, pose_net, loss_net)
    assert optimizers.loss_net is not None
    log: list[tuple[str, bool, bool]] = []
    gradients: list[bool] = []
    phi, theta = (dict(copy.deepcopy(net.state_dict())) for net in (pose_net, loss_net))
    learned_phi = dict(pose_net.named_parameters())

    def watch(name: str, step: Callable[[], object]) -> Callable[[], object]:
        def stepped() -> object:
            result = step()
            phi_same = all(torch.equal(p, phi[n]) for n, p in learned_phi.items())
            log.append((name, phi_same, same(loss_net, theta)))
            gradients.append(any(p.grad is not None for p in pose_net.parameters()))
            return result

        return stepped

    monkeypatch.setattr(optimizers.loss_net, "step", watch("theta", optimizers.loss_net.step))
    monkeypatch.setattr(optimizers.pose_net, "step", watch("phi", optimizers.pose_net.step))
    update = alternating(config, pose_net, loss_net, optimizers)
    x, y = batches()[0]
    update(x, y)
    # (which, φ as before, θ as before)
    assert log == [("theta", True, False), ("phi", False, False)]
    assert gradients == [False, True]
    after_theta_update = copy.deepcopy(loss_net.state_dict())
    monkeypatch.setattr(optimizers.loss_net, "step", lambda: None)
    update(x, y)
    assert same(loss_net, dict(after_theta_update))
    assert all(p.requires_grad for p in loss_net.parameters())


def test_theta_gets_no_gradient_from_the_pose_update(
    any_parts: tuple[TrainingConfig, nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, pose_net, loss_net = any_parts
    optimizers = build_optimizers(config, pose_net, loss_net)
    assert optimizers.loss_net is not None
    monkeypatch.setattr(
        optimizers.loss_net,
        "step",
        lambda: optimizers.loss_net.zero_grad(set_to_none=True),
    )
    update = alternating(config, pose_net, loss_net, optimizers)
    update(*batches()[0])
    assert all(p.grad is None for p in loss_net.parameters())
    assert all(p.grad is not None for p in pose_net.parameters())


def test_one_pose_net_pass_serves_both_updates(
    parts: tuple[TrainingConfig, nn.Module, nn.Module],
) -> None:
    config, pose_net, loss_net = parts
    passes: list[bool] = []
    pose_net.register_forward_hook(lambda net, *_: passes.append(net.training))
    update = alternating(config, pose_net, loss_net)
    update(*batches()[0])
    assert passes == [True]


def test_figures_are_those_of_the_batch(
    parts: tuple[TrainingConfig, nn.Module, nn.Module],
) -> None:
    config, pose_net, loss_net = parts
    pose_net = build_backbone(
        config.model_copy(update={"backbone_options": {"channels": 32, "dropout": 0.0}}), H36M_17
    ).double()
    x, y = batches()[0]
    with torch.no_grad():
        pred = copy.deepcopy(pose_net)(x)
        expected = {
            "train_pose_loss": (pred - y).square().mean(),
            "train_loss_net_loss": (
                torch.linalg.vector_norm(pred - y, dim=-1).mean(dim=-1)
                - loss_net(x, pred)
                + loss_net(x, y)
            )
            .clamp(min=0)
            .mean(),
            "train_energy_true": loss_net(x, y).mean(),
            "train_energy_pred": loss_net(x, pred).mean(),
        }
    update = alternating(config, pose_net, loss_net)
    figures = update(x, y)
    assert set(figures) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(figures[name], value, rtol=1e-9, atol=1e-12)
        assert not figures[name].requires_grad
