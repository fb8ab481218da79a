"""Metrics and energies of nets on a split, in evaluation mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.data.dataset import PoseDataset
from trainables.metrics.accumulate import PoseMetrics
from trainables.metrics.hypothesis_measures import HypothesisMeasures
from trainables.metrics.report import EvaluationReport
from trainables.seal.device_data import DeviceSplit, load_split
from trainables.seal.lifting import PLAIN, Lifting, lift_split, window_of
from trainables.seal.projection import (
    SplitViews,
    Views,
    distances_on_screen,
    load_views,
    why_not_projected,
)
from trainables.skeletons import Skeleton

__all__ = ["evaluate_energies", "evaluate_poses", "report_poses", "report_split"]

_POSES_PER_BATCH = 4096
_HYPOTHESES_PER_BATCH = 1 << 17
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


def report_split(
    pose_net: nn.Module,
    dataset: PoseDataset,
    name: str,
    lifting: Lifting = PLAIN,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> EvaluationReport:
    """Measure a pose-net on a split of a data set in full; see `report_poses`.

    Several hypotheses are chosen from by their reprojection, too, where the data allow it.

    Args:
        pose_net: F_φ, on the device; left in evaluation mode.
        dataset: The data.
        name: `train`, `val` or `test`.
        lifting: How predictions are made.
        device: Where to measure.
        dtype: Floating-point type of net and poses.

    Raises:
        DataError: If the data set has no such split, or does not fit the net.
    """
    split = load_split(dataset, name, device=device, dtype=dtype)
    views = None
    if lifting.hypotheses > 1 and why_not_projected(dataset, name) is None:
        views = load_views(dataset, name, device=device, dtype=dtype)
    return report_poses(pose_net, split, dataset.skeleton, lifting, views=views)


@torch.no_grad()
def report_poses(
    pose_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    lifting: Lifting = PLAIN,
    *,
    views: SplitViews | None = None,
) -> EvaluationReport:
    """Measure a pose-net on a split in full, as the final test does.

    Args:
        pose_net: F_φ; left in evaluation mode.
        split: Poses in order of time, on the net's device.
        skeleton: Their skeleton.
        lifting: How predictions are made.
        views: Where they are seen from; None leaves out what chooses of several hypotheses by
            reprojection.

    Returns:
        Figures and tables; NaN where a prediction is not finite. With several hypotheses also
        those of `HypothesisMeasures`.
    """
    hypotheses = None
    if lifting.hypotheses > 1:
        hypotheses = HypothesisMeasures(skeleton, projects=views is not None)
    metrics = PoseMetrics(
        skeleton,
        num_actions=split.num_actions,
        device=split.device,
        detail=True,
        num_sequences=len(split.sequence_names),
        frame_step=split.frame_step,
        hypotheses=hypotheses,
    )
    _accumulate(metrics, pose_net, split, skeleton, lifting, views=views)
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
        limit: About so many poses, evenly spaced; None for all, as where none of them is scored.

    Returns:
        `energy_true`, `energy_pred`, and `energy_gap`, the prediction's minus the truth's.
    """
    pose_net.eval()
    loss_net.eval()
    sums, scored = _sum_of_energies(pose_net, loss_net, split, skeleton, lifting, limit=limit)
    if limit is not None and not scored:
        sums, scored = _sum_of_energies(pose_net, loss_net, split, skeleton, lifting, limit=None)
    true, pred = (sums / scored).tolist()
    return {"energy_true": true, "energy_pred": pred, "energy_gap": pred - true}


def _sum_of_energies(
    pose_net: nn.Module,
    loss_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    lifting: Lifting,
    *,
    limit: int | None,
) -> tuple[Tensor, Tensor]:
    """Energies of truth and prediction, summed over the scored frames; and how many these are."""
    sums = torch.zeros(2, dtype=torch.float64, device=split.device)
    scored = torch.zeros((), dtype=torch.int64, device=split.device)
    # so few frames would be a handful of windows
    most = _ENERGIES_PER_BATCH if window_of(pose_net).frames == 1 else _POSES_PER_BATCH
    for lifted in lift_split(pose_net, split, skeleton, lifting, batch_size=most, limit=limit):
        poses = lifted.poses
        parts = (
            values.split(_ENERGIES_PER_BATCH)
            for values in (poses.x, poses.y, lifted.pred.unsqueeze(1), poses.valid)
        )
        for x, y, pred, valid in zip(*parts, strict=True):
            energies = loss_net(x, torch.stack([y, pred])).double().mean(dim=-1)
            sums += torch.where(valid, energies, 0.0).sum(dim=1)
            scored += valid.sum()
    return sums, scored


def _accumulate(
    metrics: PoseMetrics,
    pose_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    lifting: Lifting,
    *,
    limit: int | None = None,
    views: SplitViews | None = None,
) -> None:
    pose_net.eval()
    # the hypotheses of a batch are all there is of them at a time
    most = min(_POSES_PER_BATCH, max(1, _HYPOTHESES_PER_BATCH // lifting.hypotheses))
    for lifted in lift_split(pose_net, split, skeleton, lifting, batch_size=most, limit=limit):
        poses = lifted.poses
        on_screen = None
        if views is not None:
            seen_from = Views(views.root[lifted.positions], views.camera[poses.sequence])
            on_screen = distances_on_screen(lifted.hypotheses, poses.x.squeeze(1), seen_from)
        metrics.update(
            lifted.pred,
            poses.y.squeeze(1),
            poses,
            hypotheses=lifted.hypotheses,
            on_screen=on_screen,
        )
