"""The MLP loss-net: SimpleBaseline's shape with a scalar output (A.2.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import InputMechanism
from trainables.loss_nets.energy import PoseEnergy
from trainables.skeletons import Skeleton

__all__ = ["MlpEncoder", "MlpLossNet"]


class _ResidualStage(nn.Module):
    """Two Linear-ReLU layers and a skip connection, (N, C) to (N, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, width)
        self.w2 = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        return h + F.relu(self.w2(F.relu(self.w1(h))))


class MlpEncoder(nn.Module):
    """Summary of a pose by a residual perceptron, no batch norm, no dropout.

    A joint is known by its place among the flattened coordinates; it has no embedding.

    Args:
        num_joints: Joints J.
        features: Coordinates per joint.
        hidden: Hidden width C.
        stages: Residual stages.
    """

    def __init__(self, *, num_joints: int, features: int, hidden: int, stages: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(features * num_joints, hidden)
        self.stages = nn.ModuleList(_ResidualStage(hidden) for _ in range(stages))

    def forward(self, joints: Tensor) -> Tensor:
        """Summarise poses, (N, J, `features`) to (N, C)."""
        h = F.relu(self.w1(joints.flatten(1)))
        for stage in self.stages:
            h = stage(h)
        return h


class MlpLossNet(PoseEnergy):
    """Energy E_θ(x, y) of a pose by residual perceptrons and a linear head.

    Args:
        skeleton: Gives the number of joints J.
        input: How 2D and 3D meet (A.7); M2 and M4 have a second perceptron for 2D.
        hidden: Hidden width C.
        stages: Residual stages of a perceptron.
    """

    encoder: MlpEncoder
    encoder_2d: MlpEncoder | None

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        input: InputMechanism = "M3",
        hidden: int = 2048,
        stages: int = 2,
    ) -> None:
        joints = skeleton.num_joints
        super().__init__(
            num_joints=joints,
            input=input,
            encoder=lambda features: MlpEncoder(
                num_joints=joints, features=features, hidden=hidden, stages=stages
            ),
            width=hidden,
            head=lambda: nn.Linear(hidden, 1),
        )
