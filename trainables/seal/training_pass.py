"""The pass of a pose-net that it is trained by, and the loss of what it gives."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.backbones._training import TrainingOutput, TrainsOnTargets
from trainables.config import OfficialLossName
from trainables.metrics.functional import mpjpe
from trainables.seal.device_data import middle_frames
from trainables.seal.objectives import pose_loss
from trainables.seal.official_losses import mixste_loss, motionagformer_loss
from trainables.skeletons import Skeleton

__all__ = ["supervised_loss", "training_pass"]


def training_pass(pose_net: nn.Module, x: Tensor, target: Tensor) -> TrainingOutput:
    """Pass clips through a pose-net to train it: `forward`, unless it trains otherwise.

    Args:
        pose_net: F_φ, in training mode.
        x: Normalised screen coordinates, (B, T, J, 2).
        target: Root-relative joints of all frames, metres, (B, T, J, 3).
    """
    if isinstance(pose_net, TrainsOnTargets):
        return pose_net.training_pass(x, target)
    return TrainingOutput(pose_net(x))


def supervised_loss(
    name: OfficialLossName, output: TrainingOutput, target: Tensor, skeleton: Skeleton
) -> Tensor:
    """Supervised part of the pose-net's loss (Eq. 7), as any of the nets' authors has it.

    Args:
        name: A loss of `pose_loss`, or an official one: `mixste` (KTPFormer's, too),
            `motionagformer`, or `pstmo`: MPJPE of the middle frames plus that of all frames.
        output: Of `training_pass`.
        target: Ground truth of all frames, metres, (B, T, J, 3), or of those that are lifted.
        skeleton: The poses' skeleton.

    Returns:
        Scalar.

    Raises:
        ShapeError: If predictions and targets do not fit.
        ValueError: If `pstmo` is asked of a net without auxiliary poses.
    """
    pred = output.pred
    lifted = middle_frames(target, pred.shape[1])
    match name:
        case "mixste":
            return mixste_loss(pred, lifted, skeleton)
        case "motionagformer":
            return motionagformer_loss(pred, lifted)
        case "pstmo":
            if output.auxiliary is None:
                raise ValueError("the loss 'pstmo' needs a net with auxiliary poses")
            return mpjpe(pred, lifted).mean() + mpjpe(output.auxiliary, target).mean()
        case _:
            return pose_loss(name, pred, lifted)
