"""SimpleBaseline (Martinez et al., ICCV 2017), single-frame."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._inputs import check_input

__all__ = ["SimpleBaseline"]


class _ResidualStage(nn.Module):
    """Two Linear-BN-ReLU-Dropout layers and a skip connection, (N, C) to (N, C)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.w1 = nn.Linear(width, width)
        self.batch_norm1 = nn.BatchNorm1d(width)
        self.w2 = nn.Linear(width, width)
        self.batch_norm2 = nn.BatchNorm1d(width)

    def forward(self, h: Tensor) -> Tensor:
        inner = F.relu(self.batch_norm1(self.w1(h)))
        inner = F.dropout(inner, self.dropout, self.training)
        inner = F.relu(self.batch_norm2(self.w2(inner)))
        return h + F.dropout(inner, self.dropout, self.training)


class SimpleBaseline(nn.Module):
    """Residual multi-layer perceptron on the flattened joints of one frame.

    Layer names are those of the PyTorch port. Frames of a clip are lifted one by one.

    Args:
        num_joints: Joints J, in and out.
        channels: Hidden width.
        stages: Residual stages.
        dropout: Dropout rate after every hidden activation.
    """

    def __init__(
        self, *, num_joints: int, channels: int = 1024, stages: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.dropout = dropout
        self.w1 = nn.Linear(num_joints * 2, channels)
        self.batch_norm1 = nn.BatchNorm1d(channels)
        self.linear_stages = nn.ModuleList(
            _ResidualStage(channels, dropout) for _ in range(stages)
        )
        self.w2 = nn.Linear(channels, num_joints * 3)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)

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
        batch, frames = x.shape[:2]
        h = F.relu(self.batch_norm1(self.w1(x.reshape(batch * frames, -1))))
        h = F.dropout(h, self.dropout, self.training)
        for stage in self.linear_stages:
            h = stage(h)
        out: Tensor = self.w2(h)
        return out.reshape(batch, frames, self.num_joints, 3)
