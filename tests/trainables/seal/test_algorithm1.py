"""The alternating step against Algorithm 1 written out plainly, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from trainables.builders import build_backbone, build_loss_net, build_optimizers
from trainables.config import TrainingConfig
from trainables.seal.step import AlternatingStep
from trainables.skeletons import H36M_17

STEPS = 6
BATCH = 9

MakeConfig = Callable[..., TrainingConfig]


class PlainAdam:
    """Adam of Kingma and Ba as in their paper, with decoupled weight decay."""

    def __init__(self, parameters: Iterable[Tensor], rate: float, decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.rate, self.decay, self.t = rate, decay, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        self.t += 1
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss, self.parameters)
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            p.mul_(1 - self.rate * self.decay)
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            corrected = v / (1 - 0.999**self.t)
            p.sub_(self.rate * (m / (1 - 0.9**self.t)) / (corrected.sqrt() + 1e-8))


def batches() -> list[tuple[Tensor, Tensor]]:
    stream = torch.Generator().manual_seed(5)
    return [
        (
            torch.randn(BATCH, 1, 17, 2, generator=stream, dtype=torch.float64),
            torch.randn(BATCH, 1, 17, 3, generator=stream, dtype=torch.float64),
        )
        for _ in range(STEPS)
    ]


def build(config: TrainingConfig) -> tuple[nn.Module, nn.Module]:
    pose_net = build_backbone(config, H36M_17).double().train()
    loss_net = build_loss_net(config, H36M_17)
    assert loss_net is not None
    return pose_net, loss_net.double().train()


def plain_loss_net_loss(
    config: TrainingConfig, loss_net: nn.Module, x: Tensor, y: Tensor, negative: Tensor
) -> Tensor:
    """Pose by pose, each energy in a pass of its own."""
    total = torch.zeros((), dtype=torch.float64)
    for b in range(len(x)):
        true = loss_net(x[b : b + 1], y[b : b + 1]).squeeze()
        false = loss_net(x[b : b + 1], negative[b : b + 1]).squeeze()
        if config.objective == "margin":
            distances = [(negative[b, 0, j] - y[b, 0, j]).pow(2).sum().sqrt() for j in range(17)]
            margin = config.margin_scale * torch.stack(distances).mean()
            total = total + torch.clamp(margin - false + true, min=0)
        else:
            total = total - torch.log(torch.exp(-true) / (torch.exp(-true) + torch.exp(-false)))
    return total / len(x)


def plain_pose_loss(config: TrainingConfig, pred: Tensor, y: Tensor) -> Tensor:
    squared = (pred - y).pow(2)
    match config.pose_loss:
        case "mse":
            return squared.sum() / squared.numel()
        case "mse_sum":
            return squared.sum(dim=2).mean()
        case "mpjpe":
            return squared.sum(dim=-1).sqrt().mean()


def run_plain(config: TrainingConfig, pose_net: nn.Module, loss_net: nn.Module) -> None:
    assert config.lr_l is not None
    decay = 0.01 if config.loss_optimizer == "adamw" else 0.0
    pose_adam = PlainAdam(pose_net.parameters(), config.lr_p)
    loss_adam = PlainAdam(loss_net.parameters(), config.lr_l, decay)
    seen = config.energy_poses or BATCH
    for x, y in batches():
        if config.negatives_from == "eval_forward":
            negative = pose_net.eval()(x).detach()
            pose_net.train()
        else:
            negative = copy.deepcopy(pose_net)(x).detach()  # line 4, batch statistics untouched
        loss_adam.step(plain_loss_net_loss(config, loss_net, x[:seen], y[:seen], negative[:seen]))
        pred = pose_net(x)  # line 7, the same φ
        energy = loss_net(x, pred)[:seen].mean()
        pose_adam.step(plain_pose_loss(config, pred, y) + config.alpha * energy)


@pytest.mark.parametrize("loss_net_name", ["graph", "mlp"])
@pytest.mark.parametrize("objective", ["margin", "nce"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"energy_poses": 4, "pose_loss": "mpjpe", "margin_scale": 2.5},
        {"negatives_from": "eval_forward", "loss_optimizer": "adamw", "pose_loss": "mse_sum"},
        {"backbone": "simplebaseline"},
    ],
    ids=["default", "subset", "eval_forward", "simplebaseline"],
)
def test_steps_equal_algorithm_1(
    make_config: MakeConfig, loss_net_name: str, objective: str, fields: dict[str, object]
) -> None:
    config = make_config(
        **{
            "loss_net": loss_net_name,
            "objective": objective,
            "backbone_options": {"channels": 32, "dropout": 0.0},
            "alpha": 0.3,
            **fields,
        }
    )
    pose_net, loss_net = build(config)
    expected_pose_net, expected_loss_net = copy.deepcopy((pose_net, loss_net))
    run_plain(config, expected_pose_net, expected_loss_net)
    update = AlternatingStep(
        config,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=build_optimizers(config, pose_net, loss_net),
    )
    start = copy.deepcopy((pose_net.state_dict(), loss_net.state_dict()))
    for x, y in batches():
        update(x, y)
    pairs = ((pose_net, expected_pose_net, start[0]), (loss_net, expected_loss_net, start[1]))
    for net, expected, initial in pairs:
        moved = difference = 0.0
        for name, parameter in net.named_parameters():
            reference = expected.get_parameter(name)
            error = torch.linalg.vector_norm(parameter - reference)
            assert error <= 1e-6 * torch.linalg.vector_norm(reference) + 1e-12, name
            moved += (reference - initial[name]).square().sum().item()
            difference += error.square().item()
        # in relation to the path, too, so that small steps cannot hide a wrong direction
        assert difference**0.5 < 1e-6 * moved**0.5


@pytest.fixture
def parts(make_config: MakeConfig) -> tuple[TrainingConfig, nn.Module, nn.Module]:
    config = make_config()
    return config, *build(config)


def same(net: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_each_update_moves_its_own_net_only(
    parts: tuple[TrainingConfig, nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, pose_net, loss_net = parts
    optimizers = build_optimizers(config, pose_net, loss_net)
    assert optimizers.loss_net is not None
    log: list[tuple[str, bool, bool]] = []
    phi, theta = (dict(copy.deepcopy(net.state_dict())) for net in (pose_net, loss_net))
    learned_phi = dict(pose_net.named_parameters())

    def watch(name: str, step: Callable[[], object]) -> Callable[[], object]:
        def stepped() -> object:
            result = step()
            phi_same = all(torch.equal(p, phi[n]) for n, p in learned_phi.items())
            log.append((name, phi_same, same(loss_net, theta)))
            return result

        return stepped

    monkeypatch.setattr(optimizers.loss_net, "step", watch("theta", optimizers.loss_net.step))
    monkeypatch.setattr(optimizers.pose_net, "step", watch("phi", optimizers.pose_net.step))
    update = AlternatingStep(config, pose_net=pose_net, loss_net=loss_net, optimizers=optimizers)
    x, y = batches()[0]
    update(x, y)
    # (which, φ as before, θ as before)
    assert log == [("theta", True, False), ("phi", False, False)]
    after_theta_update = copy.deepcopy(loss_net.state_dict())
    monkeypatch.setattr(optimizers.loss_net, "step", lambda: None)
    update(x, y)
    assert same(loss_net, dict(after_theta_update))
    assert all(p.requires_grad for p in loss_net.parameters())


def test_theta_gets_no_gradient_from_the_pose_update(
    parts: tuple[TrainingConfig, nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, pose_net, loss_net = parts
    optimizers = build_optimizers(config, pose_net, loss_net)
    assert optimizers.loss_net is not None
    monkeypatch.setattr(
        optimizers.loss_net,
        "step",
        lambda: optimizers.loss_net.zero_grad(set_to_none=True),
    )
    update = AlternatingStep(config, pose_net=pose_net, loss_net=loss_net, optimizers=optimizers)
    update(*batches()[0])
    assert all(p.grad is None for p in loss_net.parameters())
    assert all(p.grad is not None for p in pose_net.parameters())


def test_one_pose_net_pass_serves_both_updates(
    parts: tuple[TrainingConfig, nn.Module, nn.Module],
) -> None:
    config, pose_net, loss_net = parts
    passes: list[bool] = []
    pose_net.register_forward_hook(lambda net, *_: passes.append(net.training))
    update = AlternatingStep(
        config,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=build_optimizers(config, pose_net, loss_net),
    )
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
            "train_loss_net_loss": plain_loss_net_loss(config, loss_net, x, y, pred),
            "train_energy_true": loss_net(x, y).mean(),
            "train_energy_pred": loss_net(x, pred).mean(),
        }
    update = AlternatingStep(
        config,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=build_optimizers(config, pose_net, loss_net),
    )
    figures = update(x, y)
    assert set(figures) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(figures[name], value, rtol=1e-9, atol=1e-12)
        assert not figures[name].requires_grad
