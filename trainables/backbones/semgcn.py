"""SemGCN (Zhao et al., CVPR 2019), single-frame: semantic graph convolutions on the skeleton."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._inputs import check_input
from trainables.skeletons import H36M_16, Skeleton

__all__ = ["SemGCN"]

# Joints (of 16) that the non-local blocks pool as one, as the official code pairs them: knees
# with ankles, both hips, hip with spine, thorax with head, elbows with wrists, both shoulders.
_PAIRS = ((2, 3), (5, 6), (1, 4), (0, 7), (8, 9), (14, 15), (11, 12), (10, 13))


class _SemanticConv(nn.Module):
    """Semantic graph convolution: diag(A)·X·W₀ + (A - diag(A))·X·W₁ + b.

    A is the row softmax of one logit per entry of the support, which the net computes for all
    its convolutions at once.
    """

    def __init__(self, inputs: int, outputs: int, support_size: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(2, inputs, outputs))
        self.e = nn.Parameter(torch.ones(1, support_size))
        self.bias = nn.Parameter(torch.empty(outputs))
        # on the whole 3-D tensor, whose fans are in·out and 2·out, as the official code does
        nn.init.xavier_uniform_(self.W, gain=1.414)
        nn.init.uniform_(self.bias, -1 / math.sqrt(outputs), 1 / math.sqrt(outputs))

    def forward(self, h: Tensor, diagonal: Tensor, neighbours: Tensor) -> Tensor:
        """Convolve (J, N, in) to (J, N, out); diagonal (J, 1, 1), neighbours (J, J)."""
        joints, rows, inputs = h.shape
        mixed = (neighbours @ h.flatten(1)).view(-1, inputs)  # one product for all poses
        out = torch.addmm(self.bias, mixed, self.W[1]).view(joints, rows, -1)
        # scaling W₀ for each joint is cheaper than scaling all poses
        return torch.baddbmm(out, h, diagonal * self.W[0])


class _Unit(nn.Module):
    """Graph convolution, batch norm over channels, ReLU, dropout; (J, N, in) to (J, N, out)."""

    def __init__(self, inputs: int, outputs: int, support_size: int, dropout: float) -> None:
        super().__init__()
        self.gconv = _SemanticConv(inputs, outputs, support_size)
        self.bn = nn.BatchNorm1d(outputs)
        self.dropout = dropout

    def forward(self, h: Tensor, adjacency: tuple[Tensor, Tensor]) -> Tensor:
        h = self.gconv(h, *adjacency)
        h = F.relu(self.bn(h.flatten(0, 1))).view_as(h)
        return F.dropout(h, self.dropout, self.training)


class _NonLocal(nn.Module):
    """Non-local block on 16 joints, keys and values pooled in pairs; (16, N, C) to (16, N, C).

    The official code permutes the joints so that pairs lie side by side, and back; only the
    pooling sees the order, so here it alone takes the pairs.
    """

    pairs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.g = nn.Linear(channels, half)
        self.theta = nn.Linear(channels, half)
        self.phi = nn.Linear(channels, half)
        self.affinity = nn.Linear(2 * half, 1, bias=False)
        self.out = nn.Linear(half, channels)
        self.bn = nn.BatchNorm1d(channels)
        for layer in (self.g, self.theta, self.phi, self.affinity, self.out):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.bn.weight)  # the block starts as the identity
        self.register_buffer("pairs", torch.tensor(_PAIRS), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        query_weight, key_weight = self.affinity.weight.chunk(2, dim=1)
        queries = F.linear(self.theta(h), query_weight)  # (16, N, 1)
        keys = F.linear(self._pool(self.phi(h)), key_weight)  # (8, N, 1)
        values = self._pool(self.g(h)).transpose(0, 1)  # (N, 8, C/2)
        affinity = F.relu(queries.transpose(0, 1) + keys.permute(1, 2, 0)) / len(_PAIRS)
        y = self.out((affinity @ values).transpose(0, 1))
        return h + self.bn(y.flatten(0, 1)).view_as(h)  # type: ignore[no-any-return] # modules return Any

    def _pool(self, h: Tensor) -> Tensor:
        """Maximum over each pair, (16, N, C) to (8, N, C)."""
        return h[self.pairs].amax(dim=1)


class _Residual(nn.Module):
    """Two units and a skip connection, (J, N, C) to (J, N, C)."""

    def __init__(self, channels: int, support_size: int, dropout: float) -> None:
        super().__init__()
        self.gconv1 = _Unit(channels, channels, support_size, dropout)
        self.gconv2 = _Unit(channels, channels, support_size, dropout)

    def forward(self, h: Tensor, adjacencies: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        return h + self.gconv2(self.gconv1(h, adjacencies[0]), adjacencies[1])  # type: ignore[no-any-return]


class SemGCN(nn.Module):
    """Residual semantic graph convolutions. Frames of a clip are lifted one by one.

    Args:
        skeleton: Its segments, both ways, and its joints themselves are the support.
        channels: Hidden width C.
        stages: Residual blocks, of two convolutions each.
        dropout: Dropout rate after every hidden activation.
        non_local: Whether a non-local block follows the first unit and every residual block;
            its pairs of joints are those of `H36M_16`.

    Raises:
        ValueError: If non-local blocks are asked for on another skeleton.
    """

    support: Tensor
    off_diagonal: Tensor

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        channels: int = 128,
        stages: int = 4,
        dropout: float = 0.0,
        non_local: bool = False,
    ) -> None:
        super().__init__()
        if non_local and skeleton.parents != H36M_16.parents:
            raise ValueError(
                f"non_local pairs the 16 joints of {H36M_16.name}, got {skeleton.name} with "
                f"{skeleton.num_joints} joints; leave non_local out, or set data.joints=16"
            )
        self.num_joints = joints = skeleton.num_joints
        entries = {(joint, joint) for joint in range(joints)}
        entries |= {entry for a, b in skeleton.segments for entry in ((a, b), (b, a))}
        flat = [row * joints + column for row, column in sorted(entries)]
        self.register_buffer("support", torch.tensor(flat), persistent=False)
        self.register_buffer("off_diagonal", 1 - torch.eye(joints), persistent=False)
        self.gconv_input = _Unit(2, channels, len(flat), dropout)
        self.gconv_layers = nn.ModuleList(
            _Residual(channels, len(flat), dropout) for _ in range(stages)
        )
        self.gconv_output = _SemanticConv(channels, 3, len(flat))
        self.non_local = nn.ModuleList(
            _NonLocal(channels) for _ in range(stages + 1 if non_local else 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Lift 2D poses.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).

        Returns:
            Root-relative joints, metres, (B, T, J, 3).

        Raises:
            ShapeError: If joints or coordinates do not fit.
        """
        check_input(x, self.num_joints)
        first, *inner, last = self._adjacencies()
        # joints lead, so that mixing them is one product over all poses
        h = x.reshape(-1, self.num_joints, 2).transpose(0, 1).contiguous()
        h = self._attend(0, self.gconv_input(h, first))
        for index, residual in enumerate(self.gconv_layers):
            h = self._attend(index + 1, residual(h, inner[2 * index : 2 * index + 2]))
        out: Tensor = self.gconv_output(h, *last)
        return out.transpose(0, 1).reshape(*x.shape[:2], self.num_joints, 3)

    def _attend(self, index: int, h: Tensor) -> Tensor:
        return self.non_local[index](h) if self.non_local else h

    def _adjacencies(self) -> list[tuple[Tensor, Tensor]]:
        """Each convolution's diagonal (J, 1, 1) and neighbours (J, J), by one softmax."""
        convolutions = [m for m in self.modules() if isinstance(m, _SemanticConv)]
        edges = torch.cat([convolution.e for convolution in convolutions])
        logits = edges.new_full((len(edges), self.num_joints**2), -torch.inf)
        logits = logits.index_copy(1, self.support, edges)
        adjacency = logits.view(-1, self.num_joints, self.num_joints).softmax(dim=-1)
        diagonals = adjacency.diagonal(dim1=1, dim2=2)[..., None, None]
        return list(zip(diagonals, adjacency * self.off_diagonal, strict=True))
