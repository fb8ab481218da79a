"""Mini-batches of an epoch, in an order that the seed gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.builders import resolve_pose_loss
from trainables.config import DataConfig, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import DataError, TrainableError
from trainables.seal.device_data import DeviceSplit, load_split, middle_frames
from trainables.seal.mirroring import mirror_some
from trainables.seal.monitor import StepMonitor
from trainables.seal.projection import Views, load_views
from trainables.seeding import derive_seed, generator, isolated_rng
from trainables.windows import SINGLE_FRAMES, Window, clip_middles

__all__ = ["Batch", "TrainingBatches", "check_clips_suffice", "run_steps"]

_MIN_BATCH = 2  # batch norm has no variance of one pose
_FLIP_PROBABILITY = 0.5


class Batch(NamedTuple):
    """Clips of one step.

    Attributes:
        x: Normalised screen coordinates, (B, T, J, 2).
        y: Root-relative joints, metres, (B, T, J, 3).
        views: Where the T' frames in the middle that the pose-net gives a pose for are seen
            from; None where nothing asks for it.
    """

    x: Tensor
    y: Tensor
    views: Views | None


class TrainingBatches:
    """The training split, batch by batch.

    Args:
        config: Gives seed, batch size, steps, clips, flips, and whether cameras are needed.
        dataset: The data; its arrays are never written.
        window: Frames that the pose-net takes at a time.
        device: Where the batches are.
        dtype: Their floating-point type.

    Raises:
        DataError: If there are no two poses to train on, or cameras are needed and unknown.
        TrainableError: If the clips do not suffice; see `check_clips_suffice`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: PoseDataset,
        *,
        window: Window = SINGLE_FRAMES,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        check_clips_suffice(config, window)
        self._config = config
        self._skeleton = dataset.skeleton
        self._outputs = window.outputs(config.data.frames)
        self._device = device
        self._split = load_split(dataset, "train", device=device, dtype=dtype)
        # P-STMO's authors train a second head on all frames of a window
        every = resolve_pose_loss(config) == "pstmo"
        needed = config.data.frames if every else self._outputs
        self._middles = _middles(self._split, config.data, needed)
        self._clips = len(self._split) if self._middles is None else len(self._middles)
        if self._clips < _MIN_BATCH:
            frames = config.data.frames
            what = "poses" if frames == 1 else f"clips of {frames} frames, all lifted ones scored,"
            raise DataError(
                f"split 'train' of {dataset.name!r} has {self._clips} {what} to train on; it "
                f"needs {_MIN_BATCH}"
            )
        self._views = None
        if config.uses_energy and config.hard_negatives:
            self._views = load_views(dataset, "train", device=device, dtype=dtype)

    @property
    def per_epoch(self) -> int:
        """Batches of one pass."""
        images = 2 if self._config.flip == "double" else 1
        whole, rest = divmod(images * self._clips, self._config.batch_size)
        batches = whole + (rest >= _MIN_BATCH or whole == 0)
        return min(batches, self._config.steps_per_epoch or batches)

    def epoch(self, *names: str | int) -> Iterator[Batch]:
        """The batches of one pass, in the random order of a named stream of the seed."""
        stream = generator(self._config.seed, *names)
        images = 2 if self._config.flip == "double" else 1
        # int32: of millions of clips, a list per trial of a machine that share the poses
        order = torch.randperm(images * self._clips, generator=stream, dtype=torch.int32)
        batches = list(order.split(self._config.batch_size))
        if len(batches[-1]) < _MIN_BATCH:
            batches.pop()
        for drawn in batches[: self._config.steps_per_epoch]:
            clips = drawn.long() % self._clips
            index = clips if self._middles is None else self._middles[clips].long()
            yield self._gather(index.to(self._device), self._flipped(drawn, stream))

    def _flipped(self, drawn: Tensor, stream: torch.Generator) -> Tensor | None:
        """Which clips of a batch are mirrored, (B,), bool; None if none is."""
        match self._config.flip:
            case "none":
                return None
            case "double":
                flipped = drawn >= self._clips
            case "random":
                flipped = torch.rand(len(drawn), generator=stream) < _FLIP_PROBABILITY
        return flipped.to(self._device)

    def _gather(self, index: Tensor, flipped: Tensor | None) -> Batch:
        frames = self._config.data.frames
        poses = self._split.gather_clips(index, frames)
        x, y, views = poses.x, poses.y, None
        if self._views is not None:
            clips = index[:, None] if frames == 1 else self._split.clip_index(index, frames)
            views = self._views.gather(middle_frames(clips, self._outputs), poses.sequence)
        if flipped is None:
            return Batch(x, y, views)
        return Batch(
            mirror_some(x, flipped, self._skeleton),
            mirror_some(y, flipped, self._skeleton),
            None if views is None else views.mirrored(flipped),
        )


def check_clips_suffice(config: TrainingConfig, window: Window) -> None:
    """Refuse clips of which the net does not give the frames that the losses look at.

    Args:
        config: The training.
        window: Frames that its pose-net takes at a time.

    Raises:
        TrainableError: If `window_weight` compares more frames than the net gives, or P-STMO's
            own loss, of all frames of its window, is to be trained on longer clips.
    """
    frames = config.data.frames
    own = resolve_pose_loss(config) == "pstmo"
    needed = config.window_frames + config.window_shift
    given = max(0, window.outputs(frames))
    if config.window_weight > 0 and given < needed:
        clips = f"set data.frames={frames - window.outputs(frames) + needed}"
        if own:
            clips += (
                f", and pose_loss='mpjpe', as {config.backbone}'s own loss takes clips of its "
                f"{window.frames} frames only"
            )
        raise TrainableError(
            f"window_weight={config.window_weight} needs poses of at least window_frames + "
            f"window_shift = {needed} frames of a clip, but of clips of data.frames={frames} "
            f"frames {config.backbone}, whose window has {window.frames}, gives {given}; {clips}, "
            "or set window_weight=0"
        )
    if own and frames != window.frames:
        raise TrainableError(
            f"the own loss of {config.backbone} is of all frames of its window, so it needs clips "
            f"of {window.frames} frames, got data.frames={frames}; set "
            f"data.frames={window.frames}, or pose_loss='mpjpe', or build the net with "
            f"frames={frames}"
        )


def _middles(split: DeviceSplit, data: DataConfig, outputs: int) -> Tensor | None:
    """Positions of the middle frames of the clips that are trained on, int32; None for all."""
    middles = None
    if data.clip_step > 1:
        parts = [
            torch.from_numpy(clip_middles(length, data.clip_step)) + first
            for first, length in split.sequence_spans()
        ]
        middles = torch.cat(parts).int()
    if split.all_scored:
        return middles
    every = torch.arange(len(split), dtype=torch.int32) if middles is None else middles
    return split.scored_clips(every, data.frames, outputs)


def run_steps(
    batches: Iterator[Batch],
    step: Callable[[Batch, torch.Generator], dict[str, Tensor]],
    monitor: StepMonitor,
    *,
    seed: int,
    names: tuple[str | int, ...],
    device: torch.device,
) -> int:
    """Run the steps of a pass on random streams of their own.

    Args:
        batches: The batches.
        step: Takes a batch and the random numbers of its negatives, returns figures.
        monitor: Gets the figures.
        seed: Seed of the training.
        names: Names of the pass; dropout and negatives draw from streams that differ, so that
            the negatives leave the pose-net's dropout as it is in the baseline.
        device: Device of the batches.

    Returns:
        Clips seen.

    Raises:
        NonFiniteError: If a figure is NaN or infinite.
    """
    clips = 0
    stream = torch.Generator(device).manual_seed(derive_seed(seed, "negatives", *names))
    with isolated_rng(derive_seed(seed, "dropout", *names), device):
        for batch in batches:
            monitor.add(step(batch, stream), poses=len(batch.x))
            clips += len(batch.x)
    return clips
