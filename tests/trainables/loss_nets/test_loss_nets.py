"""Loss-nets: the energies against a plain computation, sizes, gradients."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trainables.loss_nets.plain import plain_energy, plain_hops
from trainables.config import InputMechanism, LossNetName
from trainables.errors import ShapeError
from trainables.loss_nets import LOSS_NETS, GraphLossNet, MlpLossNet
from trainables.loss_nets.graph import GraphEncoder
from trainables.loss_nets.graph_bias import build_bias, hop_distances
from trainables.skeletons import H3WB_133, H36M_17, SKELETONS, Skeleton

SMALL: dict[str, dict[str, Any]] = {
    "graph": {"width": 8, "depth": 2, "heads": 2, "joint_dim": 6},
    "mlp": {"hidden": 8},
}
NAMES: tuple[LossNetName, ...] = tuple(n for n in get_args(LossNetName) if n != "none")
INPUTS: tuple[InputMechanism, ...] = get_args(InputMechanism)
EACH_NAME = pytest.mark.parametrize("name", NAMES)
EACH_INPUT = pytest.mark.parametrize("mechanism", INPUTS)

CHAIN = Skeleton("chain", ("a", "b", "c"), (-1, 0, 1), left=(), right=(), limb_pairs=())


def poses(*shape: int, joints: int = 17) -> tuple[Tensor, Tensor]:
    """2D and 3D of so many clips and frames, standard normal."""
    stream = torch.Generator().manual_seed(1)
    x = torch.randn(*shape, joints, 2, generator=stream, dtype=torch.float64)
    return x, torch.randn(*shape, joints, 3, generator=stream, dtype=torch.float64)


def build(
    name: LossNetName,
    mechanism: InputMechanism = "M3",
    skeleton: Skeleton = H36M_17,
    **options: Any,
) -> nn.Module:
    """A small net away from its initialisation, where some parameters are zero."""
    torch.manual_seed(0)
    options = {**SMALL[name], **options}
    net = LOSS_NETS[name].build(skeleton=skeleton, input=mechanism, **options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def test_every_configurable_loss_net_is_registered() -> None:
    assert set(LOSS_NETS) == set(NAMES)
    assert all(entry.name == name and entry.description for name, entry in LOSS_NETS.items())


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@EACH_INPUT
def test_parameter_counts_at_the_paper_s_widths(mechanism: InputMechanism) -> None:
    def graph_encoder(features: int) -> int:
        block = linear(256, 3 * 256) + 3 * linear(256, 256) + 2 * 2 * 256
        return 17 * 32 + linear(features + 32, 256) + 256 + 6 * block + 2 * 256 + 6

    def mlp_encoder(features: int) -> int:
        return linear(17 * features, 2048) + 4 * linear(2048, 2048)

    graph_head, mlp_head = linear(256, 256) + linear(256, 1), linear(2048, 1)
    graph, mlp = {
        "M1": (graph_encoder(3) + graph_head, mlp_encoder(3) + mlp_head),
        "M2": (
            graph_encoder(3) + graph_encoder(2) + 256 * 256 + linear(256, 1),
            mlp_encoder(3) + mlp_encoder(2) + 2048 * 2048 + mlp_head,
        ),
        "M3": (graph_encoder(5) + graph_head, mlp_encoder(5) + mlp_head),
        "M4": (
            graph_encoder(3) + graph_head + graph_encoder(2) + 17 * 256 * 3,
            mlp_encoder(3) + mlp_head + mlp_encoder(2) + 17 * 2048 * 3,
        ),
    }[mechanism]
    net: nn.Module = GraphLossNet(skeleton=H36M_17, input=mechanism)
    assert sum(p.numel() for p in net.parameters()) == graph
    with torch.device("meta"):
        net = MlpLossNet(skeleton=H36M_17, input=mechanism)
    assert sum(p.numel() for p in net.parameters()) == mlp


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_hop_distances_are_shortest_paths(skeleton: Skeleton) -> None:
    assert hop_distances(skeleton).tolist() == plain_hops(skeleton)


@EACH_NAME
@EACH_INPUT
def test_energy_equals_a_plain_computation(name: LossNetName, mechanism: InputMechanism) -> None:
    net = build(name, mechanism)
    x, y = poses(2, 2)
    energy = net(x, y)
    assert energy.shape == (2, 2)
    expected = [[plain_energy(net, x[b, t], y[b, t], H36M_17) for t in range(2)] for b in range(2)]
    reference = torch.stack([torch.stack(row) for row in expected])
    torch.testing.assert_close(energy, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", ["hop_decay", "spd_table"])
@pytest.mark.parametrize("degree_term", [True, False])
@pytest.mark.parametrize("mechanism", ["M3", "M4"])
def test_graph_energy_equals_a_plain_computation_with_any_bias(
    bias: str, degree_term: bool, mechanism: InputMechanism
) -> None:
    net = build("graph", mechanism, bias=bias, degree_term=degree_term)
    x, y = poses(1, 1)
    expected = plain_energy(net, x[0, 0], y[0, 0], H36M_17)
    torch.testing.assert_close(net(x, y)[0, 0], expected, rtol=1e-10, atol=1e-12)


def test_bias_starts_at_the_documented_values() -> None:
    bias = build_bias("hop_decay", H36M_17, heads=8, degree_term=True)()
    assert bias.shape == (1, 1, 18, 18)
    degree_hip = 0.2 * (3 + 3) / 4  # hip has 3 neighbours; thorax, the busiest, has 4
    assert bias[0, 0, 1, 1].item() == pytest.approx(degree_hip)
    foot_to_hip = -0.8 * 3 - 2.0 + 0.2 * (1 + 3) / 4
    assert bias[0, 0, 4, 1].item() == pytest.approx(foot_to_hip)
    assert bias[0, 0, 0].abs().max().item() == bias[0, 0, :, 0].abs().max().item() == 0.0


def test_early_fusion_is_one_encoder_and_its_head() -> None:
    torch.manual_seed(3)
    net = GraphLossNet(skeleton=H36M_17, **SMALL["graph"])
    torch.manual_seed(3)
    encoder = GraphEncoder(skeleton=H36M_17, features=5, **SMALL["graph"])
    head = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 1))
    expected = {
        **{f"encoder.{name}": value for name, value in encoder.state_dict().items()},
        **{f"head.{name}": value for name, value in head.state_dict().items()},
    }
    state = net.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)


@EACH_NAME
@pytest.mark.parametrize(("mechanism", "columns"), [("M2", None), ("M4", 51)])
def test_couplings_start_as_small_as_a_linear_layer_s(
    name: LossNetName, mechanism: InputMechanism, columns: int | None
) -> None:
    width = 64
    options = {"hidden": width} if name == "mlp" else {"width": width, "depth": 1}
    net = LOSS_NETS[name].build(skeleton=H36M_17, input=mechanism, **options)
    weight = net.get_parameter("coupling.weight")
    assert weight.shape == (width, columns or width)
    bound = weight.numel() ** -0.5
    assert 0.97 * bound < weight.abs().max().item() <= bound


@EACH_NAME
@EACH_INPUT
def test_every_parameter_and_joint_has_a_gradient(
    name: LossNetName, mechanism: InputMechanism
) -> None:
    net = build(name, mechanism)
    x, y = poses(6, 2)
    x.requires_grad_(True)
    y.requires_grad_(True)
    net(x, y).square().sum().backward()
    assert y.grad is not None
    assert y.grad.abs().sum(dim=(0, 1, 3)).min() > 0
    if mechanism == "M1":
        assert x.grad is None
    else:
        assert x.grad is not None
        assert x.grad.abs().sum(dim=(0, 1, 3)).min() > 0
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@EACH_INPUT
@pytest.mark.parametrize("bias", ["hop_decay", "spd_table"])
def test_graph_has_no_inert_number_but_the_keys_biases(
    mechanism: InputMechanism, bias: str
) -> None:
    net = build("graph", mechanism, bias=bias)
    net(*poses(6, 2)).square().sum().backward()
    gradients = {n: p.grad.abs() for n, p in net.named_parameters() if p.grad is not None}
    largest = max(gradient.max().item() for gradient in gradients.values())
    for name, gradient in gradients.items():
        inert = gradient < 1e-13 * largest
        expected = torch.zeros_like(inert)
        if name.endswith("qkv.bias"):  # adds the same to all logits of a query
            expected[8:16] = True
        assert torch.equal(inert, expected), name


@EACH_NAME
@EACH_INPUT
def test_gradients_are_those_of_the_function(name: LossNetName, mechanism: InputMechanism) -> None:
    tiny = {"graph": {"width": 4, "depth": 2, "heads": 2, "joint_dim": 2}, "mlp": {"hidden": 4}}
    net = build(name, mechanism, CHAIN, **tiny[name])
    names = [n for n, _ in net.named_parameters()]

    def energy(x: Tensor, y: Tensor, *values: Tensor) -> Tensor:
        state = dict(zip(names, values, strict=True))
        out: Tensor = torch.func.functional_call(net, state, (x, y))
        return out

    x, y = poses(2, 1, joints=3)
    x.requires_grad_(mechanism != "M1")
    assert torch.autograd.gradcheck(energy, (x, y.requires_grad_(True), *net.parameters()))


@EACH_NAME
def test_m1_does_not_see_2d(name: LossNetName) -> None:
    net = build(name, "M1")
    x, y = poses(2, 1)
    assert torch.equal(net(x, y), net(x + 1.0, y))


@EACH_NAME
@settings(max_examples=15, deadline=None)
@given(first=st.floats(-2, 2), second=st.floats(-2, 2))
def test_m4_meets_3d_linearly_given_2d(name: LossNetName, first: float, second: float) -> None:
    net = build(name, "M4")
    x, y = poses(2, 1)
    other_x, other_y = x.flip(0), y.flip(0)

    def local(at: Tensor) -> Tensor:
        """What of the energy depends on 2D: all of it that is no function of 3D alone."""
        difference: Tensor = net(x, at) - net(other_x, at)
        return difference

    combined = local(first * y + second * other_y)
    torch.testing.assert_close(
        combined, first * local(y) + second * local(other_y), rtol=1e-8, atol=1e-9
    )


@EACH_NAME
@EACH_INPUT
@settings(max_examples=5, deadline=None)
@given(clips=st.integers(1, 3), frames=st.integers(1, 3))
def test_a_pose_s_energy_is_its_own(
    name: LossNetName, mechanism: InputMechanism, clips: int, frames: int
) -> None:
    net = build(name, mechanism)
    x, y = poses(clips, frames)
    for clip in range(clips):
        for frame in range(frames):
            at = (slice(clip, clip + 1), slice(frame, frame + 1))
            torch.testing.assert_close(net(x[at], y[at]), net(x, y)[at])


@EACH_NAME
@EACH_INPUT
def test_whole_bodies_have_energies(name: LossNetName, mechanism: InputMechanism) -> None:
    net = build(name, mechanism, H3WB_133)
    energy = net(*poses(3, 1, joints=133))
    assert energy.shape == (3, 1)
    assert energy.unique().numel() == 3


@EACH_NAME
@EACH_INPUT
@pytest.mark.parametrize("training", [True, False])
def test_energy_draws_no_random_numbers(
    name: LossNetName, mechanism: InputMechanism, training: bool
) -> None:
    net = build(name, mechanism).train(training)
    before = torch.get_rng_state()
    net(*poses(3, 2))
    assert torch.equal(torch.get_rng_state(), before)


@EACH_NAME
@EACH_INPUT
def test_wrong_shapes_are_refused_with_both_shapes(
    name: LossNetName, mechanism: InputMechanism
) -> None:
    x, y = poses(3, 2)
    with pytest.raises(ShapeError, match=r"got \(3, 2, 17, 2\) and \(3, 1, 17, 3\)"):
        build(name, mechanism)(x, y[:, :1])


def test_unknown_bias_and_uneven_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="'hop_decay' or 'spd_table', got 'hops'"):
        build("graph", bias="hops")
    with pytest.raises(ValueError, match="width=8, heads=3"):
        build("graph", heads=3)
