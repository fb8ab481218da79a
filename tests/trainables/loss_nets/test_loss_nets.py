"""Loss-nets: the energy against a plain computation, sizes, gradients."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import LossNetName
from trainables.errors import ShapeError
from trainables.loss_nets import LOSS_NETS, GraphLossNet, MlpLossNet
from trainables.loss_nets.graph_bias import HopDecayBias, HopTableBias, build_bias, hop_distances
from trainables.skeletons import H36M_17

SMALL: dict[str, dict[str, Any]] = {
    "graph": {"width": 16, "depth": 2, "heads": 4, "joint_dim": 6},
    "mlp": {"hidden": 16},
}
NAMES: tuple[LossNetName, ...] = tuple(n for n in get_args(LossNetName) if n != "none")


def poses(batch: int = 3, frames: int = 2) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    x = torch.randn(batch, frames, 17, 2, generator=stream, dtype=torch.float64)
    return x, torch.randn(batch, frames, 17, 3, generator=stream, dtype=torch.float64)


def build(name: LossNetName, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return LOSS_NETS[name].build(skeleton=H36M_17, **{**SMALL[name], **options}).double()


def plain_hops() -> list[list[int]]:
    """Distances by following both joints up to their common ancestor."""

    def ancestors(joint: int) -> list[int]:
        line = [joint]
        while (joint := H36M_17.parents[joint]) >= 0:
            line.append(joint)
        return line

    return [
        [
            min(
                ancestors(i).index(a) + ancestors(j).index(a)
                for a in {*ancestors(i)} & {*ancestors(j)}
            )
            for j in range(17)
        ]
        for i in range(17)
    ]


def plain_bias(bias: HopDecayBias | HopTableBias, heads: int) -> Tensor:
    """Entry by entry, (H, 18, 18)."""
    hops = plain_hops()
    degree = [row.count(1) for row in hops]
    out = torch.zeros(heads, 18, 18, dtype=torch.float64)
    for h in range(heads):
        for i in range(18):
            for j in range(18):
                cls = {(True, False): 0, (False, True): 1, (True, True): 2}.get((i == 0, j == 0))
                if cls is not None:
                    out[h, i, j] = (
                        bias.cls[cls]
                        if isinstance(bias, HopDecayBias)
                        else bias.table[h, max(map(max, hops)) + 1 + cls]
                    )
                    continue
                d = hops[i - 1][j - 1]
                if isinstance(bias, HopDecayBias):
                    out[h, i, j] = -bias.gamma * d + (bias.no_edge if d > 1 else 0.0)
                else:
                    out[h, i, j] = bias.table[h, d]
                if bias.degree is not None:
                    sums = degree[i - 1] + degree[j - 1]
                    out[h, i, j] += bias.degree * sums / max(degree)
    return out


def plain_energy(net: GraphLossNet, x: Tensor, y: Tensor, heads: int) -> Tensor:
    """The energy as the paper writes it, every token in every block, for one pose."""
    encoder = net.encoder
    table = plain_bias(encoder.bias, heads)
    nodes = [
        encoder.project(torch.cat([x[j], y[j], encoder.joint_embedding.weight[j]]))
        for j in range(17)
    ]
    h = torch.stack([encoder.cls[0, 0], *nodes])
    block: Any
    for block in encoder.blocks:
        width = h.shape[-1]
        size = width // heads
        q, k, v = block.qkv(block.norm1(h)).split(width, dim=-1)
        attended = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = q[:, part] @ k[:, part].T / size**0.5 + table[head]
            attended.append(logits.softmax(dim=-1) @ v[:, part])
        h = h + block.proj(torch.cat(attended, dim=-1))
        h = h + block.fc2(F.gelu(block.fc1(block.norm2(h))))
    first, activation, last = net.head
    energy: Tensor = last(activation(first(encoder.norm(h[0]))))
    return energy.squeeze()


def test_every_configurable_loss_net_is_registered() -> None:
    assert set(LOSS_NETS) == set(NAMES)
    assert all(entry.name == name and entry.description for name, entry in LOSS_NETS.items())


def test_parameter_counts() -> None:
    graph = GraphLossNet(skeleton=H36M_17)
    block = 3 * (256 * 256 + 256) + 3 * (256 * 256 + 256) + 4 * 256
    expected = 17 * 32 + (37 * 256 + 256) + 256 + 6 * block + 2 * 256 + 6
    expected += (256 * 256 + 256) + 257
    assert sum(p.numel() for p in graph.parameters()) == expected
    mlp = MlpLossNet(skeleton=H36M_17)
    expected = (17 * 5 + 1) * 2048 + 4 * (2048 * 2048 + 2048) + 2049
    assert sum(p.numel() for p in mlp.parameters()) == expected


def test_hop_distances_are_shortest_paths() -> None:
    assert hop_distances(H36M_17).tolist() == plain_hops()


@pytest.mark.parametrize("bias", ["hop_decay", "spd_table"])
@pytest.mark.parametrize("degree_term", [True, False])
def test_graph_energy_equals_a_plain_computation(bias: str, degree_term: bool) -> None:
    net = build("graph", bias=bias, degree_term=degree_term)
    assert isinstance(net, GraphLossNet)
    with torch.no_grad():  # away from the zeros that some scalars start at
        for parameter in net.encoder.bias.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x, y = poses()
    energy = net(x, y)
    assert energy.shape == (3, 2)
    expected = [[plain_energy(net, x[b, t], y[b, t], 4) for t in range(2)] for b in range(3)]
    reference = torch.stack([torch.stack(row) for row in expected])
    torch.testing.assert_close(energy, reference, rtol=1e-10, atol=1e-12)


def test_bias_starts_at_the_documented_values() -> None:
    bias = build_bias("hop_decay", H36M_17, heads=8, degree_term=True)()
    assert bias.shape == (1, 1, 18, 18)
    degree_hip = 0.2 * (3 + 3) / 4  # hip has 3 neighbours; thorax, the busiest, has 4
    assert bias[0, 0, 1, 1].item() == pytest.approx(degree_hip)
    foot_to_hip = -0.8 * 3 - 2.0 + 0.2 * (1 + 3) / 4
    assert bias[0, 0, 4, 1].item() == pytest.approx(foot_to_hip)
    assert bias[0, 0, 0].abs().max().item() == bias[0, 0, :, 0].abs().max().item() == 0.0


def test_mlp_energy_equals_a_plain_computation() -> None:
    net = build("mlp")
    assert isinstance(net, MlpLossNet)
    x, y = poses()
    h = F.relu(net.w1(torch.cat([x[2, 1], y[2, 1]], dim=-1).flatten()))
    stage: Any
    for stage in net.stages:
        h = h + F.relu(stage.w2(F.relu(stage.w1(h))))
    torch.testing.assert_close(net(x, y)[2, 1], net.w2(h).squeeze(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_energy_has_gradients_everywhere(name: LossNetName) -> None:
    net = build(name)
    x, y = poses()
    y.requires_grad_(True)
    net(x, y).square().sum().backward()
    assert y.grad is not None
    assert y.grad.abs().sum(dim=(0, 1, 3)).min() > 0  # every joint
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_energy_draws_no_random_numbers(name: LossNetName, training: bool) -> None:
    net = build(name).train(training)
    before = torch.get_rng_state()
    net(*poses())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused_with_both_shapes(name: LossNetName) -> None:
    x, y = poses()
    with pytest.raises(ShapeError, match=r"got \(3, 2, 17, 2\) and \(3, 1, 17, 3\)"):
        build(name)(x, y[:, :1])


def test_unknown_bias_and_uneven_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="'hop_decay' or 'spd_table', got 'hops'"):
        build("graph", bias="hops")
    with pytest.raises(ValueError, match="width=16, heads=3"):
        build("graph", heads=3)
