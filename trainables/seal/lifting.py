"""Lifting whole sequences with nets of any window, with or without flipping at test."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainables.seal.device_data import DeviceSplit, Poses, middle_frames
from trainables.seal.mirroring import mirror
from trainables.skeletons import Skeleton
from trainables.windows import SINGLE_FRAMES, Window, covering_windows

__all__ = ["lift_clips", "lift_sequence", "lift_split", "window_of"]


def window_of(pose_net: nn.Module) -> Window:
    """Frames that a pose-net takes at a time: its `window`; single frames if it has none."""
    window = getattr(pose_net, "window", None)
    return window if isinstance(window, Window) else SINGLE_FRAMES


def lift_clips(pose_net: nn.Module, x: Tensor, skeleton: Skeleton, *, flip: bool) -> Tensor:
    """Lift clips.

    Args:
        pose_net: F_φ, in evaluation mode.
        x: Normalised screen coordinates, (B, T, J, 2).
        skeleton: The poses' skeleton.
        flip: Whether to average with the lifted mirror image, mirrored back.

    Returns:
        Root-relative joints, metres, (B, T', J, 3).
    """
    pred: Tensor = pose_net(x)
    if flip:
        pred = (pred + mirror(pose_net(mirror(x, skeleton)), skeleton)) / 2
    return pred


def lift_split(
    pose_net: nn.Module,
    split: DeviceSplit,
    skeleton: Skeleton,
    *,
    flip: bool,
    batch_size: int,
    limit: int | None = None,
) -> Iterator[tuple[Tensor, Poses]]:
    """Lift the poses of a split in order of time, each frame once.

    Args:
        pose_net: F_φ, in evaluation mode.
        split: Whole sequences, unless the net lifts single frames.
        skeleton: The poses' skeleton.
        flip: See `lift_clips`.
        batch_size: At most so many input frames at a time, but at least one window.
        limit: About so many poses, evenly spaced; None for all.

    Yields:
        Predictions (N, J, 3), and their poses, single frames.

    Raises:
        DataError: If the net needs windows, but poses do not follow one another in time.
    """
    window = window_of(pose_net)
    if window.frames == 1:
        for poses in split.evenly(limit).batches(batch_size):
            yield lift_clips(pose_net, poses.x, skeleton, flip=flip)[:, 0], poses
        return
    for index, kept in _windows(split, window, batch_size, limit):
        pred = lift_clips(pose_net, split.gather_x(index), skeleton, flip=flip)
        outputs = middle_frames(index, pred.shape[1])
        if window.output == "middle":
            yield pred[:, 0], split.gather(outputs[:, 0])
        else:
            yield pred[kept], split.gather(outputs[kept])


def lift_sequence(
    pose_net: nn.Module, x: Tensor, skeleton: Skeleton, *, flip: bool, batch_size: int
) -> Tensor:
    """Lift the frames of one sequence.

    Args:
        pose_net: F_φ, in evaluation mode.
        x: Normalised screen coordinates in order of time, (N, J, 2).
        skeleton: The poses' skeleton.
        flip: See `lift_clips`.
        batch_size: See `lift_split`.

    Returns:
        Root-relative joints, metres, (N, J, 3).
    """
    split = DeviceSplit.of_sequence(x.unsqueeze(1))
    parts = lift_split(pose_net, split, skeleton, flip=flip, batch_size=batch_size)
    return torch.cat([pred for pred, _ in parts])


def _windows(
    split: DeviceSplit, window: Window, batch_size: int, limit: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions of frames (B, T), and which outputs are new, (B, T'), in batches."""
    together = max(1, batch_size // window.frames)
    if window.output == "middle":
        for index in split.evenly_spaced(limit).split(together):
            yield split.clip_index(index, window.frames), index.new_ones(len(index), 1).bool()
        return
    starts, shown = _covering(split, window.frames)
    if limit is not None and limit < len(split):
        some = torch.arange(-(-limit // window.frames)) * len(starts)
        some = some // -(-limit // window.frames)
        starts, shown = starts[some], shown[some]
    frames = torch.arange(window.frames, device=split.device)
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
