"""Lifting whole sequences with nets of any window, with or without flipping at test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainables.backbones._training import Samples
from trainables.config import TrainingConfig
from trainables.errors import ShapeError
from trainables.seal.device_data import DeviceSplit, Poses, middle_frames
from trainables.seal.mirroring import mirror
from trainables.skeletons import Skeleton
from trainables.windows import SINGLE_FRAMES, Window, covering_windows

__all__ = [
    "PLAIN",
    "Lifted",
    "Lifting",
    "final_lifting",
    "lift_clips",
    "lift_hypotheses",
    "lift_sequence",
    "lift_split",
    "validation_lifting",
    "window_of",
]


@dataclass(frozen=True)
class Lifting:
    """How predictions are made of what a net gives.

    Attributes:
        flip: Whether to average with the lifted mirror image, mirrored back.
        zero_root: Whether the root joint is put to zero; where it is no joint, but lies between
            some, the pose is moved so that it lies at zero.
        sliding: Whether a net that gives all frames of a window a pose lifts each frame as the
            middle of its own window.
        hypotheses: Hypotheses H of a net that samples them.
        iterations: Iterations K of their sampler.
    """

    flip: bool = False
    zero_root: bool = False
    sliding: bool = False
    hypotheses: int = 1
    iterations: int = 1


PLAIN = Lifting()
"""Predictions as they come out of the net."""


class Lifted(NamedTuple):
    """Some poses of a split, lifted.

    Attributes:
        pred: Root-relative joints, metres, (N, J, 3): the mean of the hypotheses.
        poses: The poses, single frames.
        hypotheses: (H, N, J, 3).
        positions: Of the poses in the split, (N,), int64, on its device.
    """

    pred: Tensor
    poses: Poses
    hypotheses: Tensor
    positions: Tensor


def validation_lifting(config: TrainingConfig) -> Lifting:
    """How each epoch is validated."""
    return Lifting(flip=config.eval_flip, zero_root=config.zero_root)


def final_lifting(config: TrainingConfig) -> Lifting:
    """How a trained net is tested and used."""
    return Lifting(
        flip=config.eval_flip,
        zero_root=config.zero_root,
        sliding=config.test_windows == "sliding",
        hypotheses=config.test_hypotheses,
        iterations=config.test_iterations,
    )


def window_of(pose_net: nn.Module) -> Window:
    """Frames that a pose-net takes at a time: its `window`; single frames if it has none."""
    window = getattr(pose_net, "window", None)
    return window if isinstance(window, Window) else SINGLE_FRAMES


def lift_clips(
    pose_net: nn.Module, x: Tensor, skeleton: Skeleton, lifting: Lifting = PLAIN
) -> Tensor:
    """Lift clips.

    Args:
        pose_net: F_φ, in evaluation mode.
        x: Normalised screen coordinates, (B, T, J, 2).
        skeleton: The poses' skeleton.
        lifting: How.

    Returns:
        Root-relative joints, metres, (B, T', J, 3): the mean of the hypotheses.

    Raises:
        ShapeError: If several hypotheses are asked of a net that has one.
    """
    return lift_hypotheses(pose_net, x, skeleton, lifting).mean(dim=0)


def lift_hypotheses(
    pose_net: nn.Module, x: Tensor, skeleton: Skeleton, lifting: Lifting
) -> Tensor:
    """Lift clips; arguments and errors as for `lift_clips`.

    Returns:
        Root-relative joints, metres, (H, B, T', J, 3); H is 1 for nets that sample none.
    """
    if isinstance(pose_net, Samples):
        pred = pose_net.hypothesise(
            x,
            hypotheses=lifting.hypotheses,
            iterations=lifting.iterations,
            flip=lifting.flip,
        )
    elif lifting.hypotheses > 1:
        raise ShapeError(
            f"{type(pose_net).__name__} gives one hypothesis, not {lifting.hypotheses}"
        )
    else:
        pred = pose_net(x)
        if lifting.flip:
            pred = (pred + mirror(pose_net(mirror(x, skeleton)), skeleton)) / 2
        pred = pred.unsqueeze(0)
    return _with_root_at_zero(pred, skeleton) if lifting.zero_root else pred


def _with_root_at_zero(poses: Tensor, skeleton: Skeleton) -> Tensor:
    """Poses (..., J, 3) whose origin lies where that of the ground truth does."""
    if skeleton.origin in ((), (skeleton.root,)):
        joints = torch.arange(skeleton.num_joints, device=poses.device)
        return torch.where((joints == skeleton.root)[:, None], 0.0, poses)
    # no joint's prediction is known to be wrong by itself: only the mean of some is
    return poses - poses[..., list(skeleton.origin), :].mean(dim=-2, keepdim=True)


def lift_split(
    pose_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    lifting: Lifting = PLAIN,
    *,
    batch_size: int,
    limit: int | None = None,
) -> Iterator[Lifted]:
    """Lift the poses of a split in order of time, each frame once.

    Args:
        pose_net: F_φ, in evaluation mode.
        split: Whole sequences, unless the net lifts single frames.
        skeleton: The poses' skeleton.
        lifting: How.
        batch_size: At most so many input frames at a time, but at least one window.
        limit: About so many poses, evenly spaced; None for all.

    Raises:
        DataError: If the net needs windows, but poses do not follow one another in time.
        ShapeError: If several hypotheses are asked of a net that has one.
    """
    window = window_of(pose_net)
    if window.frames == 1:
        for index in split.evenly_spaced(limit).split(batch_size):
            poses = split.gather(index)
            lifted = lift_hypotheses(pose_net, poses.x, skeleton, lifting)[:, :, 0]
            yield Lifted(lifted.mean(dim=0), poses, lifted, index)
        return
    sliding = lifting.sliding or window.output == "middle"
    for index, kept in _windows(split, window.frames, batch_size, limit, sliding=sliding):
        lifted = lift_hypotheses(pose_net, split.gather_x(index), skeleton, lifting)
        lifted = middle_frames(lifted, kept.shape[1], dim=2)[:, kept]
        middles = middle_frames(index, kept.shape[1])[kept]
        yield Lifted(lifted.mean(dim=0), split.gather(middles), lifted, middles)


def lift_sequence(
    pose_net: nn.Module,
    x: Tensor,
    skeleton: Skeleton,
    lifting: Lifting = PLAIN,
    *,
    batch_size: int,
) -> Tensor:
    """Lift the frames of one sequence.

    Args:
        pose_net: F_φ, in evaluation mode.
        x: Normalised screen coordinates in order of time, (N, J, 2).
        skeleton: The poses' skeleton.
        lifting: How.
        batch_size: See `lift_split`.

    Returns:
        Root-relative joints, metres, (N, J, 3): the mean of the hypotheses.
    """
    split = DeviceSplit.of_sequence(x.unsqueeze(1))
    parts = lift_split(pose_net, split, skeleton, lifting, batch_size=batch_size)
    return torch.cat([part.pred for part in parts])


def _windows(
    split: DeviceSplit, length: int, batch_size: int, limit: int | None, *, sliding: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions of windows' frames (B, T), and which in their middle are new, (B, T')."""
    together = max(1, batch_size // length)
    if sliding:
        for index in split.evenly_spaced(limit).split(together):
            yield split.clip_index(index, length), index.new_ones(len(index), 1).bool()
        return
    starts, shown = _covering(split, length)
    if limit is not None and limit < len(split):
        some = torch.arange(-(-limit // length)) * len(starts)
        some = some // -(-limit // length)
        starts, shown = starts[some], shown[some]
    frames = torch.arange(length, device=split.device)
    for first, before in zip(starts.split(together), shown.split(together), strict=True):
        first, before = first.to(split.device), before.to(split.device)
        last = split.last_of_sequence(first)
        index = torch.minimum(first[:, None] + frames, last[:, None])
        new = (frames >= before[:, None]) & (first[:, None] + frames <= last[:, None])
        yield index, new


def _covering(split: DeviceSplit, frames: int) -> tuple[Tensor, Tensor]:
    """`covering_windows` of all sequences, as positions in the split."""
    starts, shown = [], []
    for first, length in split.sequence_spans():
        offsets, before = covering_windows(length, frames)
        starts.append(torch.from_numpy(offsets) + first)
        shown.append(torch.from_numpy(before))
    return torch.cat(starts), torch.cat(shown)
