"""The graph loss-net: a Graphormer-like energy over the skeleton (A.2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import InputMechanism
from trainables.loss_nets.energy import PoseEnergy
from trainables.loss_nets.graph_bias import BiasName, build_bias
from trainables.skeletons import Skeleton

__all__ = ["GraphEncoder", "GraphLossNet"]


class _Block(nn.Module):
    """Pre-norm transformer block on tokens (N, L, C), with an additive attention bias."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, h: Tensor, bias: Tensor) -> Tensor:
        """Update all tokens; bias (1, 1|H, L, L)."""
        q, k, v = self._split(self.qkv(self.norm1(h)), 3)
        return self._finish(h, F.scaled_dot_product_attention(q, k, v, attn_mask=bias))

    def update_first(self, h: Tensor, bias: Tensor) -> Tensor:
        """Update the first token only, (N, L, C) to (N, 1, C).

        Equal to the first token of `forward`. The energy reads nothing but CLS, so in the last
        block the other tokens need no query, projection or perceptron.
        """
        width = h.shape[-1]
        normed = self.norm1(h)
        weight, offset = self.qkv.weight, self.qkv.bias
        (q,) = self._split(F.linear(normed[:, :1], weight[:width], offset[:width]), 1)
        k, v = self._split(F.linear(normed, weight[width:], offset[width:]), 2)
        first = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, :, :1])
        return self._finish(h[:, :1], first)

    def _split(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(N, L, parts·C) to `parts` tensors (N, H, L, C/H)."""
        rows, tokens = projected.shape[:2]
        split = projected.view(rows, tokens, parts, self.heads, -1)
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _finish(self, h: Tensor, attended: Tensor) -> Tensor:
        h = h + self.proj(attended.transpose(1, 2).flatten(2))
        inner = F.gelu(self.fc1(self.norm2(h)))
        return h + self.fc2(inner)  # type: ignore[no-any-return] # modules return Any


class GraphEncoder(nn.Module):
    """Summary of a pose by a CLS token that attends to all joints.

    Each joint is its features beside a learned embedding of its identity, projected to the
    width; a CLS token is prepended, and pre-norm blocks share one bias from the skeleton graph.

    Args:
        skeleton: Graph of the joints.
        features: Coordinates per joint.
        width: Model width C.
        depth: Blocks.
        heads: Attention heads H.
        joint_dim: Width of the joint embedding.
        mlp_ratio: Hidden width of the blocks' perceptrons, relative to C.
        bias: Form of the attention bias.
        degree_term: Whether the bias has its degree term.

    Raises:
        ValueError: If the width is no multiple of the heads, or the depth is not positive.
    """

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        features: int,
        width: int = 256,
        depth: int = 6,
        heads: int = 8,
        joint_dim: int = 32,
        mlp_ratio: float = 1.0,
        bias: BiasName = "hop_decay",
        degree_term: bool = True,
    ) -> None:
        super().__init__()
        if depth < 1 or width % heads:
            raise ValueError(
                f"depth must be positive and width a multiple of heads, "
                f"got depth={depth}, width={width}, heads={heads}"
            )
        self.features = features
        self.joint_embedding = nn.Embedding(skeleton.num_joints, joint_dim)
        self.project = nn.Linear(features + joint_dim, width)
        self.cls = nn.Parameter(torch.empty(1, 1, width))
        nn.init.normal_(self.cls, std=0.02)
        self.bias = build_bias(bias, skeleton, heads=heads, degree_term=degree_term)
        self.blocks = nn.ModuleList(_Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, joints: Tensor) -> Tensor:
        """Summarise poses.

        Args:
            joints: Features of each joint, (N, J, `features`).

        Returns:
            CLS after the final norm, (N, C).
        """
        bias = self.bias()
        *body, last = self.blocks
        h = self._embed(joints)
        for block in body:
            h = block(h, bias)
        return self.norm(last.update_first(h, bias).squeeze(1))  # type: ignore[no-any-return, operator]

    def _embed(self, joints: Tensor) -> Tensor:
        """Project [features, embedding] and prepend CLS, (N, J, F) to (N, J+1, C)."""
        weight = self.project.weight
        # the identity's share of the projection is the same for every pose
        identity = F.linear(
            self.joint_embedding.weight, weight[:, self.features :], self.project.bias
        )
        nodes = F.linear(joints, weight[:, : self.features]) + identity
        return torch.cat([self.cls.expand(len(joints), -1, -1), nodes], dim=1)


class GraphLossNet(PoseEnergy):
    """Energy E_θ(x, y) of a pose by graph encoders and a two-layer head.

    Args:
        skeleton: Graph of the joints.
        input: How 2D and 3D meet (A.7); M2 and M4 have a second encoder for 2D.
        width: Model width C.
        depth: Blocks of an encoder.
        heads: Attention heads H.
        joint_dim: Width of the joint embedding.
        mlp_ratio: Hidden width of the blocks' perceptrons, relative to C.
        bias: Form of the attention bias.
        degree_term: Whether the bias has its degree term.
    """

    encoder: GraphEncoder
    encoder_2d: GraphEncoder | None

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        input: InputMechanism = "M3",
        width: int = 256,
        depth: int = 6,
        heads: int = 8,
        joint_dim: int = 32,
        mlp_ratio: float = 1.0,
        bias: BiasName = "hop_decay",
        degree_term: bool = True,
    ) -> None:
        def encoder(features: int) -> GraphEncoder:
            return GraphEncoder(
                skeleton=skeleton,
                features=features,
                width=width,
                depth=depth,
                heads=heads,
                joint_dim=joint_dim,
                mlp_ratio=mlp_ratio,
                bias=bias,
                degree_term=degree_term,
            )

        def head() -> nn.Module:
            return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

        super().__init__(
            num_joints=skeleton.num_joints,
            input=input,
            encoder=encoder,
            width=width,
            head=head,
        )
