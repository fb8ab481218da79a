"""SemGCN against plain loops: the graph convolution, the whole net, the non-local blocks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones import SemGCN
from trainables.skeletons import H3WB_133, H36M_16, H36M_17, MPI_INF_3DHP_17, Skeleton

PAIRS = ((2, 3), (5, 6), (1, 4), (0, 7), (8, 9), (14, 15), (11, 12), (10, 13))


def small(skeleton: Skeleton, **options: Any) -> SemGCN:
    """A small net away from its initialisation, where some parameters are alike or zero."""
    torch.manual_seed(0)
    net = SemGCN(skeleton=skeleton, **{"channels": 6, "stages": 2, **options}).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def tree(parents: list[int]) -> Skeleton:
    names = tuple(str(joint) for joint in range(len(parents)))
    return Skeleton("tree", names, tuple(parents), left=(), right=(), limb_pairs=())


def plain_adjacency(skeleton: Skeleton, e: Tensor) -> list[list[float]]:
    """Row softmax of the logits of each joint and its neighbours, e in row-major order."""
    size = skeleton.num_joints
    bones = {*skeleton.segments}
    logits = iter(e.flatten().tolist())
    weights = [
        [
            math.exp(next(logits)) if i == j or (i, j) in bones or (j, i) in bones else 0.0
            for j in range(size)
        ]
        for i in range(size)
    ]
    assert next(logits, None) is None  # a logit for each entry of the support
    return [[weight / sum(row) for weight in row] for row in weights]


def plain_convolution(conv: Any, h: Tensor, skeleton: Skeleton) -> Tensor:
    """One pose (J, in) to (J, out), joint by joint."""
    adjacency = plain_adjacency(skeleton, conv.e)
    rows = []
    for i in range(skeleton.num_joints):
        row = conv.bias + adjacency[i][i] * (h[i] @ conv.W[0])
        for j in range(skeleton.num_joints):
            if j != i:
                row = row + adjacency[i][j] * (h[j] @ conv.W[1])
        rows.append(row)
    return torch.stack(rows)


def plain_norm(norm: nn.BatchNorm1d, poses: list[Tensor]) -> list[Tensor]:
    """Batch norm over all joints of all poses, each (J, C)."""
    rows = torch.cat(poses)
    mean, variance = rows.mean(dim=0), rows.var(dim=0, unbiased=False)
    return [(p - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias for p in poses]


def plain_non_local(block: Any, poses: list[Tensor]) -> list[Tensor]:
    """As the block is published: permuted into pairs, pooled, attended, permuted back."""
    order = [joint for pair in PAIRS for joint in pair]
    values = []
    for pose in poses:
        h = pose[order]
        g, phi = (
            torch.stack([torch.maximum(t[2 * k], t[2 * k + 1]) for k in range(8)])
            for t in (block.g(h), block.phi(h))
        )
        theta = block.theta(h)
        rows = []
        for i in range(16):
            affinity = [F.relu(block.affinity(torch.cat([theta[i], phi[k]]))) for k in range(8)]
            rows.append(torch.stack([affinity[k] * g[k] for k in range(8)]).sum(dim=0) / 8)
        out = block.out(torch.stack(rows))
        values.append(torch.stack([out[order.index(joint)] for joint in range(16)]))
    return [p + v for p, v in zip(poses, plain_norm(block.bn, values), strict=True)]


def plain_net(net: SemGCN, x: Tensor, skeleton: Skeleton) -> Tensor:
    """The net in training, on poses (N, J, 2)."""

    def unit(module: Any, poses: list[Tensor]) -> list[Tensor]:
        convolved = [plain_convolution(module.gconv, pose, skeleton) for pose in poses]
        return [F.relu(pose) for pose in plain_norm(module.bn, convolved)]

    def attend(index: int, poses: list[Tensor]) -> list[Tensor]:
        return plain_non_local(net.non_local[index], poses) if len(net.non_local) else poses

    poses = attend(0, unit(net.gconv_input, list(x)))
    residual: Any
    for index, residual in enumerate(net.gconv_layers):
        inner = unit(residual.gconv2, unit(residual.gconv1, poses))
        poses = attend(index + 1, [p + q for p, q in zip(poses, inner, strict=True)])
    return torch.stack([plain_convolution(net.gconv_output, pose, skeleton) for pose in poses])


@pytest.mark.parametrize(
    ("skeleton", "non_local"), [(H36M_17, False), (MPI_INF_3DHP_17, False), (H36M_16, True)]
)
def test_net_equals_a_plain_computation(skeleton: Skeleton, non_local: bool) -> None:
    net = small(skeleton, non_local=non_local)
    x = torch.randn(2, 2, skeleton.num_joints, 2, dtype=torch.float64)
    expected = plain_net(net, x.flatten(0, 1), skeleton).reshape(2, 2, -1, 3)
    torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-11)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), size=st.integers(1, 9))
def test_convolution_equals_a_plain_computation_on_any_tree(
    data: st.DataObject, size: int
) -> None:
    parents = [-1, *(data.draw(st.integers(0, joint - 1)) for joint in range(1, size))]
    skeleton = tree(parents)
    net = small(skeleton, stages=1)
    h = torch.randn(3, size, 6, dtype=torch.float64)
    *_, (diagonal, neighbours) = net._adjacencies()
    out = net.gconv_output(h.transpose(0, 1).contiguous(), diagonal, neighbours)
    expected = torch.stack([plain_convolution(net.gconv_output, pose, skeleton) for pose in h])
    torch.testing.assert_close(out.transpose(0, 1), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("skeleton", "size"), [(H36M_17, 49), (H36M_16, 46), (H3WB_133, 397)])
def test_support_is_the_joints_and_their_neighbours(skeleton: Skeleton, size: int) -> None:
    net = SemGCN(skeleton=skeleton, channels=4)
    assert net.gconv_output.e.shape == (1, size)
    assert "support" not in net.state_dict()


def test_gradients_are_those_of_the_function() -> None:
    skeleton = tree([-1, 0, 0, 1])
    net = small(skeleton, channels=3, stages=1)
    x = torch.randn(2, 1, 4, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in net.named_parameters()]

    def lift(x: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x,))
        return out

    assert torch.autograd.gradcheck(lift, (x, *net.parameters()))


@pytest.mark.parametrize(
    ("non_local", "expected"), [(False, 267_343), (True, 434_703)], ids=["plain", "non_local"]
)
def test_parameter_counts_with_16_joints(non_local: bool, expected: int) -> None:
    net = SemGCN(skeleton=H36M_16, non_local=non_local)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_weights_start_within_the_official_bounds() -> None:
    torch.manual_seed(0)
    net = SemGCN(skeleton=H36M_17)
    convolutions: list[Any] = [m for m in net.modules() if hasattr(m, "e")]
    assert len(convolutions) == 10
    bounds = [0.1531, *[0.02685] * 8, 0.1754]
    for conv, bound in zip(convolutions, bounds, strict=True):
        # the largest of hundreds of uniform numbers lies just below the bound
        assert 0.97 * bound < conv.W.abs().max().item() <= bound * 1.0005
        assert conv.W.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.06)
        assert conv.e.unique().tolist() == [1.0]
        assert conv.bias.abs().max().item() <= 1 / math.sqrt(len(conv.bias))
        assert conv.bias.unique().numel() == len(conv.bias)


def test_non_local_blocks_start_as_the_identity() -> None:
    torch.manual_seed(0)
    plain = SemGCN(skeleton=H36M_16, channels=16)
    attending = SemGCN(skeleton=H36M_16, channels=16, non_local=True)
    missing = attending.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.startswith("non_local.") for name in missing.missing_keys)
    x = torch.randn(4, 1, 16, 2)
    torch.testing.assert_close(attending(x), plain(x), rtol=0, atol=0)
    block: Any = attending.non_local[0]
    assert block.theta.weight.std().item() == pytest.approx(math.sqrt(2 / 16), rel=0.15)
    for layer in (block.g, block.theta, block.phi, block.out, block.bn):
        assert not layer.bias.any()


def test_every_non_local_weight_is_trained_except_biases_before_batch_norm() -> None:
    net = small(H36M_16, non_local=True, channels=16)
    x = torch.randn(8, 1, 16, 2, dtype=torch.float64)
    net(x).square().sum().backward()
    gradients = {
        name: float(parameter.grad.abs().max())
        for name, parameter in net.named_parameters()
        if name.startswith("non_local") and parameter.grad is not None
    }
    assert len(gradients) == 3 * 11
    inert = {name for name, largest in gradients.items() if largest < 1e-9}
    assert inert == {f"non_local.{block}.out.bias" for block in range(3)}


def test_non_local_blocks_are_refused_off_their_16_joints() -> None:
    with pytest.raises(ValueError, match="16 joints of h36m_16, got h36m_17 with 17 joints"):
        SemGCN(skeleton=H36M_17, non_local=True)
    with pytest.raises(ValueError, match="got tree with 16 joints; leave non_local out"):
        SemGCN(skeleton=tree([-1, *range(15)]), non_local=True)
