"""Energies as the paper writes them, one pose at a time, entry by entry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.loss_nets import GraphLossNet, MlpLossNet
from trainables.loss_nets.graph_bias import HopDecayBias, HopTableBias
from trainables.skeletons import Skeleton


def plain_hops(skeleton: Skeleton) -> list[list[int]]:
    """Distances by following both joints up to their first common ancestor."""

    def line(joint: int) -> list[int]:
        up = [joint]
        while (joint := skeleton.parents[joint]) >= 0:
            up.append(joint)
        return up

    lines = [line(joint) for joint in range(skeleton.num_joints)]
    return [
        [min(a.index(joint) + b.index(joint) for joint in {*a} & {*b}) for b in lines]
        for a in lines
    ]


def plain_bias(bias: HopDecayBias | HopTableBias, skeleton: Skeleton, heads: int) -> Tensor:
    """The attention bias, (H, J+1, J+1)."""
    hops = plain_hops(skeleton)
    degree = [row.count(1) for row in hops]
    size = len(hops) + 1
    out = torch.zeros(heads, size, size, dtype=torch.float64)
    for h in range(heads):
        for i in range(size):
            for j in range(size):
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


def graph_descriptor(encoder: Any, joints: Tensor, skeleton: Skeleton) -> Tensor:
    """CLS after all blocks, in which every token is updated; joints (J, F)."""
    heads = encoder.blocks[0].heads
    table = plain_bias(encoder.bias, skeleton, heads)
    nodes = [
        encoder.project(torch.cat([joints[j], encoder.joint_embedding.weight[j]]))
        for j in range(len(joints))
    ]
    h = torch.stack([encoder.cls[0, 0], *nodes])
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
    descriptor: Tensor = encoder.norm(h[0])
    return descriptor


def mlp_descriptor(encoder: Any, joints: Tensor) -> Tensor:
    """The perceptron on coordinates in joint-major order; joints (J, F)."""
    h = F.relu(encoder.w1.weight @ torch.cat(list(joints)) + encoder.w1.bias)
    for stage in encoder.stages:
        inner = F.relu(stage.w1.weight @ h + stage.w1.bias)
        h = h + F.relu(stage.w2.weight @ inner + stage.w2.bias)
    return h


def plain_energy(net: nn.Module, x: Tensor, y: Tensor, skeleton: Skeleton) -> Tensor:
    """Energy of one pose, x (J, 2) and y (J, 3), by sums over all entries."""
    assert isinstance(net, (GraphLossNet, MlpLossNet))

    def describe(encoder: nn.Module, joints: Tensor) -> Tensor:
        if isinstance(net, GraphLossNet):
            return graph_descriptor(encoder, joints, skeleton)
        return mlp_descriptor(encoder, joints)

    if net.input == "M3":
        pairs = torch.stack([torch.cat([x[j], y[j]]) for j in range(len(x))])
        energy: Tensor = net.head(describe(net.encoder, pairs)).squeeze()
        return energy
    g = describe(net.encoder, y)
    energy = net.head(g).squeeze()
    if net.input == "M1":
        return energy
    assert net.encoder_2d is not None
    assert net.coupling is not None
    f, weight = describe(net.encoder_2d, x), net.coupling.weight
    for a in range(len(f)):
        if net.input == "M2":
            for b in range(len(g)):
                energy = energy + f[a] * weight[a, b] * g[b]
        else:
            for j in range(len(y)):
                for axis in range(3):
                    energy = energy + f[a] * weight[a, 3 * j + axis] * y[j, axis]
    return energy
