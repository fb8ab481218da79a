"""Metrics and energies of nets on a split, in evaluation mode."""

from __future__ import annotations

import torch
from torch import nn

from trainables.metrics.accumulate import PoseMetrics
from trainables.metrics.report import EvaluationReport
from trainables.seal.device_data import DeviceSplit
from trainables.seal.lifting import PLAIN, Lifting, lift_split
from trainables.skeletons import Skeleton

__all__ = ["evaluate_energies", "evaluate_poses", "report_poses"]

_POSES_PER_BATCH = 4096
_ENERGIES_PER_BATCH = 512


@torch.no_grad()
def evaluate_poses(
    pose_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    lifting: Lifting = PLAIN,
    *,
    limit: int | None = None,
) -> dict[str, float]:
    """Measure a pose-net on a split, as each epoch does.

    Args:
        pose_net: F_φ; left in evaluation mode.
        split: Poses, on the net's device.
        skeleton: Their skeleton.
        lifting: How predictions are made.
        limit: About so many poses, evenly spaced; None for all.

    Returns:
        What `PoseMetrics.compute` returns; NaN where a prediction is not finite.
    """
    metrics = PoseMetrics(skeleton, num_actions=split.num_actions, device=split.device)
    _accumulate(metrics, pose_net, split, skeleton, lifting, limit=limit)
    return metrics.compute()


@torch.no_grad()
def report_poses(
    pose_net: nn.Module, split: DeviceSplit, skeleton: Skeleton, lifting: Lifting = PLAIN
) -> EvaluationReport:
    """Measure a pose-net on a split in full, as the final test does.

    Args:
        pose_net: F_φ; left in evaluation mode.
        split: Poses in order of time, on the net's device.
        skeleton: Their skeleton.
        lifting: How predictions are made.

    Returns:
        Figures and tables; NaN where a prediction is not finite.
    """
    metrics = PoseMetrics(
        skeleton,
        num_actions=split.num_actions,
        device=split.device,
        detail=True,
        num_sequences=len(split.sequence_names),
        frame_step=split.frame_step,
    )
    _accumulate(metrics, pose_net, split, skeleton, lifting)
    return metrics.report(action_names=split.action_names, sequence_names=split.sequence_names)


@torch.no_grad()
def evaluate_energies(
    pose_net: nn.Module,
    loss_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    lifting: Lifting = PLAIN,
    *,
    limit: int | None = None,
) -> dict[str, float]:
    """Mean energies of truth and prediction over the scored frames of a split.

    Args:
        pose_net: F_φ; left in evaluation mode.
        loss_net: E_θ; left in evaluation mode.
        split: Poses, on the nets' device.
        skeleton: Their skeleton.
        lifting: How predictions are made.
        limit: About so many poses, evenly spaced; None for all.

    Returns:
        `energy_true`, `energy_pred`, and `energy_gap`, the prediction's minus the truth's.
    """
    pose_net.eval()
    loss_net.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=split.device)
    scored = torch.zeros((), dtype=torch.int64, device=split.device)
    lifted = lift_split(
        pose_net, split, skeleton, lifting, batch_size=_ENERGIES_PER_BATCH, limit=limit
    )
    for pred, batch, _, _ in lifted:
        poses = torch.stack([batch.y, pred.unsqueeze(1)])
        energies = loss_net(batch.x, poses).double().mean(dim=-1)
        sums += torch.where(batch.valid, energies, 0.0).sum(dim=1)
        scored += batch.valid.sum()
    true, pred = (sums / scored).tolist()
    return {"energy_true": true, "energy_pred": pred, "energy_gap": pred - true}


def _accumulate(
    metrics: PoseMetrics,
    pose_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    lifting: Lifting,
    *,
    limit: int | None = None,
) -> None:
    pose_net.eval()
    lifted = lift_split(
        pose_net, split, skeleton, lifting, batch_size=_POSES_PER_BATCH, limit=limit
    )
    for pred, batch, _, _ in lifted:
        metrics.update(pred, batch.y.squeeze(1), batch)
