"""The MLP loss-net: SimpleBaseline's shape with a scalar output (A.2.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import InputMechanism
from trainables.loss_nets.inputs import JOINT_FEATURES, fold_frames, joint_features
from trainables.skeletons import Skeleton

__all__ = ["MlpLossNet"]


class _ResidualStage(nn.Module):
    """Two Linear-ReLU layers and a skip connection, (N, C) to (N, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, width)
        self.w2 = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        return h + F.relu(self.w2(F.relu(self.w1(h))))


class MlpLossNet(nn.Module):
    """Energy E_θ(x, y) of a pose by a residual perceptron, no batch norm, no dropout.

    Args:
        skeleton: Gives the number of joints J.
        input: How 2D and 3D reach the net (A.7).
        hidden: Hidden width C.
        stages: Residual stages.
    """

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        input: InputMechanism = "M3",
        hidden: int = 2048,
        stages: int = 2,
    ) -> None:
        super().__init__()
        self.num_joints = skeleton.num_joints
        self.input = input
        self.w1 = nn.Linear(JOINT_FEATURES[input] * skeleton.num_joints, hidden)
        self.stages = nn.ModuleList(_ResidualStage(hidden) for _ in range(stages))
        self.w2 = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Energies of poses; lower is more plausible.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            y: Root-relative joints, metres, (B, T, J, 3).

        Returns:
            Energy of each frame, (B, T).

        Raises:
            ShapeError: If the two do not fit each other or the skeleton.
        """
        joints = joint_features(self.input, *fold_frames(x, y, self.num_joints))
        h = F.relu(self.w1(joints.flatten(1)))
        for stage in self.stages:
            h = stage(h)
        energy: Tensor = self.w2(h)
        return energy.reshape(x.shape[:2])
