"""Energies of the four input mechanisms (A.7, Table 9), whatever the encoder."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from trainables.config import InputMechanism
from trainables.loss_nets.inputs import JOINT_FEATURES, fold_frames, joint_features

__all__ = ["PoseEnergy"]


class PoseEnergy(nn.Module):
    """Energy E_θ(x, y) of a pose by a head on an encoder's descriptor.

    Where 2D meets 3D late, a bilinear form f(x)ᵀ·W·z of a 2D encoder's descriptor f(x) is added.
    With g the descriptor of 3D:

    * M1: E = head(g), which never sees 2D.
    * M2: E = f(x)ᵀ·W·g + wᵀ·g + b; its head is linear.
    * M3: E = head of the descriptor of 2D and 3D together.
    * M4: E = head(g) + Σ_j f(x)ᵀ·W_j·y_j. All W_j side by side are one W, and z is the pose.

    Args:
        num_joints: Joints J.
        input: The mechanism.
        encoder: Makes an encoder of so many features per joint, (N, J, F) to (N, C).
        width: Width C of the descriptors.
        head: Makes a head, (N, C) to (N, 1).
    """

    encoder: nn.Module
    head: nn.Module

    def __init__(
        self,
        *,
        num_joints: int,
        input: InputMechanism,
        encoder: Callable[[int], nn.Module],
        width: int,
        head: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.input = input
        self.encoder = encoder(JOINT_FEATURES[input])
        self.head = nn.Linear(width, 1) if input == "M2" else head()
        self.encoder_2d: nn.Module | None = None
        self.coupling: nn.Linear | None = None
        if input in ("M2", "M4"):
            self.encoder_2d = encoder(2)
            self.coupling = _bilinear(width, width if input == "M2" else 3 * num_joints)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Energies of poses; lower is more plausible.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            y: Root-relative joints, metres, (B, T, J, 3), or several of each, (P, B, T, J, 3).

        Returns:
            Energy of each frame, (B, T) or (P, B, T).

        Raises:
            ShapeError: If the two do not fit each other or the skeleton.
        """
        energies = y.shape[:-2]
        x, y = fold_frames(x, y, self.num_joints)
        descriptor = self.encoder(joint_features(self.input, x, y))
        energy: Tensor = self.head(descriptor).squeeze(-1)
        if self.encoder_2d is not None and self.coupling is not None:
            coupled = self.coupling(descriptor if self.input == "M2" else y.flatten(1))
            # one 2D pose serves all its 3D poses
            products = self.encoder_2d(x) * coupled.unflatten(0, (-1, len(x)))
            energy = energy + products.sum(dim=-1).flatten()
        return energy.reshape(energies)


def _bilinear(rows: int, columns: int) -> nn.Linear:
    """W of fᵀ·W·z, (rows, columns), started as a linear layer on the products f_i·z_k would be."""
    form = nn.Linear(columns, rows, bias=False)
    bound = (rows * columns) ** -0.5
    nn.init.uniform_(form.weight, -bound, bound)
    return form
