"""Attention biases from the skeleton graph (A.2.2), shared by all layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.skeletons import Skeleton

__all__ = ["BiasName", "HopDecayBias", "HopTableBias", "build_bias", "hop_distances"]

BiasName = Literal["hop_decay", "spd_table"]


def hop_distances(skeleton: Skeleton) -> Tensor:
    """Shortest-path distances between joints along segments, (J, J), integer hops."""
    size = skeleton.num_joints
    hops = torch.full((size, size), size)
    hops.fill_diagonal_(0)
    for parent, child in skeleton.segments:
        hops[parent, child] = hops[child, parent] = 1
    for via in range(size):  # Floyd-Warshall
        hops = torch.minimum(hops, hops[:, via, None] + hops[None, via])
    return hops


def _degree_sums(hops: Tensor) -> tuple[Tensor, int]:
    """deg_i + deg_j for all pairs of joints, (J, J), and max deg, by which to divide."""
    degree = (hops == 1).sum(dim=1)
    return degree[:, None] + degree[None, :], int(degree.max())


def _with_cls(nodes: Tensor) -> Tensor:
    """Put a zero row and column for the CLS token in front, (J, J) to (J+1, J+1)."""
    return F.pad(nodes, (1, 0, 1, 0))


def _cls_masks(num_joints: int) -> Tensor:
    """Where CLS→node, node→CLS and CLS→CLS stand in the bias, (3, J+1, J+1)."""
    masks = torch.zeros(3, num_joints + 1, num_joints + 1, dtype=torch.long)
    masks[0, 0, 1:] = 1
    masks[1, 1:, 0] = 1
    masks[2, 0, 0] = 1
    return masks


class HopDecayBias(nn.Module):
    """bias_ij = -γ·d_ij + (A_ij ? 0 : b_noedge) + s·(deg_i + deg_j)/max deg.

    CLS has three scalars of its own: CLS→node, node→CLS, CLS→CLS, and no distance. A joint
    counts as its own neighbour: the penalty is for pairs without an edge between them.

    Args:
        skeleton: Graph of the joints.
        degree_term: Whether the degree term takes part.
    """

    basis: Tensor

    def __init__(self, skeleton: Skeleton, *, degree_term: bool = True) -> None:
        super().__init__()
        hops = hop_distances(skeleton)
        self.tokens = skeleton.num_joints + 1
        self.gamma = nn.Parameter(torch.tensor(0.8))
        self.no_edge = nn.Parameter(torch.tensor(-2.0))
        self.cls = nn.Parameter(torch.zeros(3))
        self.degree = nn.Parameter(torch.tensor(0.2)) if degree_term else None
        degree_sums, self.max_degree = _degree_sums(hops)
        terms = [_with_cls(-hops), _with_cls((hops > 1).long())]
        if degree_term:
            terms.append(_with_cls(degree_sums))
        # The bias is linear in its few scalars: one small product, no host synchronisation.
        # All entries are integers, so exact in every dtype.
        basis = torch.cat([torch.stack(terms), _cls_masks(skeleton.num_joints)])
        self.register_buffer("basis", basis.flatten(1).float(), persistent=False)

    def forward(self) -> Tensor:
        """Return the bias for all heads, (1, 1, J+1, J+1)."""
        scalars: list[Tensor] = [self.gamma, self.no_edge]
        if self.degree is not None:
            scalars.append(self.degree / self.max_degree)
        weights = torch.cat([torch.stack(scalars), self.cls])
        return (weights @ self.basis).view(1, 1, self.tokens, self.tokens)


class HopTableBias(nn.Module):
    """The general Graphormer form: one learnable scalar per hop distance and head.

    The three CLS relations count as distances of their own. All scalars start at zero.

    Args:
        skeleton: Graph of the joints.
        heads: Attention heads H.
        degree_term: Whether the degree term of `HopDecayBias` takes part.
    """

    relation: Tensor
    degree_sums: Tensor

    def __init__(self, skeleton: Skeleton, *, heads: int, degree_term: bool = True) -> None:
        super().__init__()
        hops = hop_distances(skeleton)
        distances = int(hops.max()) + 1
        relation = _with_cls(hops)
        for index, mask in enumerate(_cls_masks(skeleton.num_joints)):
            relation[mask.bool()] = distances + index
        self.register_buffer("relation", relation, persistent=False)
        self.table = nn.Parameter(torch.zeros(heads, distances + 3))
        self.degree = nn.Parameter(torch.tensor(0.2)) if degree_term else None
        degree_sums, self.max_degree = _degree_sums(hops)
        self.register_buffer("degree_sums", _with_cls(degree_sums).float(), persistent=False)

    def forward(self) -> Tensor:
        """Return the bias of each head, (1, H, J+1, J+1)."""
        bias = self.table[:, self.relation].unsqueeze(0)
        if self.degree is None:
            return bias
        return bias + self.degree / self.max_degree * self.degree_sums


def build_bias(
    name: BiasName, skeleton: Skeleton, *, heads: int, degree_term: bool
) -> HopDecayBias | HopTableBias:
    """Build an attention bias by name.

    Raises:
        ValueError: If there is no bias of that name.
    """
    match name:
        case "hop_decay":
            return HopDecayBias(skeleton, degree_term=degree_term)
        case "spd_table":
            return HopTableBias(skeleton, heads=heads, degree_term=degree_term)
    raise ValueError(f"bias must be 'hop_decay' or 'spd_table', got {name!r}")
