"""Negatives: the poses that the loss-net learns to tell from the truth (3.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trainables.backbones._training import Samples
from trainables.config import TrainingConfig
from trainables.errors import ShapeError
from trainables.metrics.hypotheses import select
from trainables.seal.device_data import middle_frames
from trainables.seal.projection import Views, reprojection_errors

__all__ = [
    "NegativePool",
    "build_pool",
    "clips_at_a_time",
    "disc_noise",
    "lift_in_evaluation",
    "rank_pairs",
]


@dataclass(frozen=True)
class NegativePool:
    """Negatives of a batch; those that serve several terms are in it once.

    Attributes:
        poses: The prediction first, then those from perturbed 2D, then hypotheses, metres,
            (P, B, T, J, 3).
        predictions: How many of them are the prediction itself, 0 or 1.
        disturbance: 2D MPJPE of each perturbation, (K, B, T); None without.
        objective: Those that the objective sees.
        choice: Of these, the one it sees alone, (B, T), int64; None for all.
    """

    poses: Tensor
    predictions: int
    disturbance: Tensor | None
    objective: slice
    choice: Tensor | None = None

    @property
    def perturbed(self) -> slice:
        """Those from perturbed 2D."""
        count = 0 if self.disturbance is None else len(self.disturbance)
        return slice(self.predictions, self.predictions + count)

    def for_objective(self, values: Tensor) -> Tensor:
        """What belongs to the negatives that the objective sees, of (P, B, T, ...)."""
        seen = values[self.objective]
        return seen if self.choice is None else select(seen, self.choice).unsqueeze(0)


def build_pool(
    config: TrainingConfig,
    *,
    pose_net: nn.Module,
    x: Tensor,
    y: Tensor,
    prediction: Tensor,
    views: Views | None,
    stream: torch.Generator | None,
) -> NegativePool:
    """Collect the negatives of a batch.

    Args:
        config: Says which.
        pose_net: F_φ; in the mode in which it came afterwards, its buffers untouched.
        x: Normalised screen coordinates, (B, T, J, 2).
        y: Ground truth, metres, of the frames that the pose-net lifts, (B, T', J, 3).
        prediction: ỹ, detached, same shape and unit.
        views: Where the poses are seen from; needed for hard negatives.
        stream: Random numbers of perturbations and hypotheses, on the poses' device; None for
            torch's own.
    """
    parts, disturbance = [], None
    if config.negatives in ("prediction", "both") or config.window_weight > 0:
        parts.append(prediction.unsqueeze(0))
    predictions = len(parts)
    if config.perturbs:
        noise = disc_noise(x, config.num_perturbations, config.perturbation_radius, stream)
        disturbance = torch.linalg.vector_norm(noise, dim=-1).mean(dim=-1)
        disturbance = middle_frames(disturbance, y.shape[1], dim=2)
        rows = (x + noise).flatten(0, 1)
        lifted = lift_in_evaluation(pose_net, rows, max_clips=clips_at_a_time(config))
        parts.append(lifted.unflatten(0, noise.shape[:2]))
    if config.negatives == "hypotheses":
        parts.append(_hypotheses(config, pose_net, x, stream))
    objective = {
        "prediction": slice(0, 1),
        "perturbation": slice(predictions, None),
        "both": slice(None),
        "hypotheses": slice(-config.num_hypotheses, None),
    }[config.negatives]
    pool = NegativePool(torch.cat(parts), predictions, disturbance, objective)
    if not config.hard_negatives:
        return pool
    if views is None:
        raise ValueError("hard negatives are chosen by projection: views are needed")
    errors = reprojection_errors(pool.poses[objective], y, views).mean(dim=-1)
    pool = replace(pool, choice=errors.argmin(dim=0))
    if config.pair_weight > 0 or config.window_weight > 0:
        return pool
    # nothing else looks at the others: their energies need not be computed
    return NegativePool(pool.for_objective(pool.poses), 0, None, slice(None))


def disc_noise(like: Tensor, count: int, radius: float, stream: torch.Generator | None) -> Tensor:
    """Draw displacements uniformly from a disc, one for each joint (Eq. 1).

    Args:
        like: 2D poses, (B, T, J, 2).
        count: Displacements K of each joint.
        radius: R_max, unit of `like`.
        stream: Random numbers, on the device of `like`; None for torch's own.

    Returns:
        (K, B, T, J, 2), device and dtype of `like`.
    """
    shape = (count, *like.shape[:-1])
    # in float32 whatever the poses are in, so that the same numbers come out for all
    area, turn = (
        torch.rand(shape, generator=stream, device=like.device).to(like.dtype) for _ in range(2)
    )
    distance, angle = radius * area.sqrt(), 2 * math.pi * turn
    return torch.stack([distance * angle.cos(), distance * angle.sin()], dim=-1)


def rank_pairs(
    count: int, stream: torch.Generator | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pairs of ranks that the pair regulariser compares: adjacent ones, and as many at random.

    Args:
        count: Negatives K, at least 2.
        stream: Random numbers, on `device`; None for torch's own.
        device: Where the result is.

    Returns:
        Ranks of the worse and of the better one, int64, (2(K-1),) each.
    """
    better = torch.arange(count - 1, device=device)
    first = torch.randint(count, better.shape, generator=stream, device=device)
    ahead = torch.randint(1, count, better.shape, generator=stream, device=device)
    second = (first + ahead) % count
    return (
        torch.cat([better + 1, torch.maximum(first, second)]),
        torch.cat([better, torch.minimum(first, second)]),
    )


def clips_at_a_time(config: TrainingConfig) -> int | None:
    """Clips that pass the pose-net at a time: those of a part of a batch; None for all."""
    return None if config.accumulate == 1 else -(-config.batch_size // config.accumulate)


def lift_in_evaluation(pose_net: nn.Module, x: Tensor, *, max_clips: int | None = None) -> Tensor:
    """Lift by a pass in evaluation mode, (B, T, J, 2) to (B, T, J, 3), without gradient.

    Deterministic, and it leaves the batch norm statistics alone. In training mode each pose
    would depend on its batch, and a perturbation would bring new dropout with it. The net sees
    at most `max_clips` at a time; all for None.
    """
    with _evaluating(pose_net):
        parts = [pose_net(part) for part in x.split(max_clips or len(x))]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _hypotheses(
    config: TrainingConfig, pose_net: nn.Module, x: Tensor, stream: torch.Generator | None
) -> Tensor:
    """Sample hypotheses of clips in evaluation mode, (H, B, T, J, 3), without gradient.

    Each comes from noise of its own, new in every step: that of evaluation, which all clips
    share, would show the loss-net a few fixed deviations only.
    """
    if not isinstance(pose_net, Samples):
        raise ShapeError(
            f"negatives='hypotheses' needs a net that samples them, {type(pose_net).__name__} "
            "does not"
        )
    with _evaluating(pose_net):
        return pose_net.hypothesise(
            x,
            hypotheses=config.num_hypotheses,
            iterations=config.hypothesis_iterations,
            flip=False,
            generator=stream or torch.default_generator,
            max_clips=clips_at_a_time(config),
        )


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """A net in evaluation mode, without gradient; afterwards in the mode in which it came."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(was_training)
