"""What a pose-net gives in training, where that is more than its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trainables.errors import TrainableError

__all__ = ["Samples", "TrainingOutput", "TrainsOnTargets", "check_iterations"]


class TrainingOutput(NamedTuple):
    """What a training pass of a pose-net gives.

    Attributes:
        pred: Root-relative joints, metres, of the frames that the net lifts, (B, T', J, 3); what
            the energy and the pose loss see.
        auxiliary: Poses of all frames by a head that only training uses, (B, T, J, 3); None
            where there is none.
    """

    pred: Tensor
    auxiliary: Tensor | None = None


@runtime_checkable
class TrainsOnTargets(Protocol):
    """A pose-net whose training is not `forward`."""

    def training_pass(self, x: Tensor, target: Tensor) -> TrainingOutput:
        """Pass clips through the net to train it.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            target: Root-relative joints of all frames, metres, (B, T, J, 3).
        """


@runtime_checkable
class Samples(Protocol):
    """A pose-net that samples hypotheses."""

    @property
    def steps(self) -> int:
        """Most iterations that its sampler can take."""

    def hypothesise(
        self,
        x: Tensor,
        *,
        hypotheses: int,
        iterations: int,
        flip: bool,
        generator: torch.Generator | None = None,
        max_clips: int | None = None,
    ) -> Tensor:
        """Sample hypotheses.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            hypotheses: Hypotheses H.
            iterations: Iterations K of the sampler, at most `steps`.
            flip: Whether each iteration is averaged with that of the mirror image.
            generator: Source of fresh noise for each clip; None for noise that depends on the
                number of hypotheses and iterations only.
            max_clips: At most so many of the clips of all hypotheses pass the net at a time; None
                for as many as x has. Says nothing about what is drawn.

        Returns:
            Root-relative joints, metres, (H, B, T, J, 3).
        """


def check_iterations(pose_net: nn.Module, iterations: Mapping[str, int]) -> None:
    """Refuse more iterations of a sampler than it can take; other nets have none to refuse.

    Args:
        pose_net: F_φ.
        iterations: Iterations K by the name of the field that asks for them.

    Raises:
        TrainableError: If there are too many.
    """
    if not isinstance(pose_net, Samples):
        return
    for name, wanted in iterations.items():
        if wanted > pose_net.steps:
            raise TrainableError(
                f"{name}={wanted}: the diffusion of {type(pose_net).__name__} has "
                f"{pose_net.steps} steps, and its sampler takes at most one iteration for each; "
                f"set {name}={pose_net.steps} or less"
            )
