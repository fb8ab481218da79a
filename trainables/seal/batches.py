"""Mini-batches of an epoch, in an order that the seed gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import DataError
from trainables.seal.device_data import load_split
from trainables.seal.monitor import StepMonitor
from trainables.seal.projection import Views, load_views
from trainables.seeding import derive_seed, generator, isolated_rng

__all__ = ["Batch", "TrainingBatches", "run_steps"]

_MIN_BATCH = 2  # batch norm has no variance of one pose


class Batch(NamedTuple):
    """Clips of one step.

    Attributes:
        x: Normalised screen coordinates, (B, T, J, 2).
        y: Root-relative joints, metres, (B, T, J, 3).
        views: Where they are seen from; None where nothing asks for it.
    """

    x: Tensor
    y: Tensor
    views: Views | None


class TrainingBatches:
    """The training split, batch by batch.

    Args:
        config: Gives seed, batch size, steps, clip length, and whether cameras are needed.
        dataset: The data; its arrays are never written.
        device: Where the batches are.
        dtype: Their floating-point type.

    Raises:
        DataError: If there are no two poses to train on, or cameras are needed and unknown.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: PoseDataset,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._config = config
        self._device = device
        self._split = load_split(dataset, "train", device=device, dtype=dtype)
        self._scored = self._split.scored()
        if len(self._scored) < _MIN_BATCH:
            raise DataError(
                f"split 'train' of {dataset.name!r} has {len(self._scored)} poses to train on; "
                f"it needs {_MIN_BATCH}"
            )
        self._views = None
        if config.uses_energy and config.hard_negatives:
            self._views = load_views(dataset, "train", device=device, dtype=dtype)

    def epoch(self, *names: str | int) -> Iterator[Batch]:
        """The batches of one pass, in the random order of a named stream of the seed."""
        stream = generator(self._config.seed, *names)
        order = self._scored[torch.randperm(len(self._scored), generator=stream)]
        batches = list(order.to(self._device).split(self._config.batch_size))
        if len(batches[-1]) < _MIN_BATCH:
            batches.pop()
        for index in batches[: self._config.steps_per_epoch]:
            yield self._gather(index)

    def _gather(self, index: Tensor) -> Batch:
        frames = self._config.data.frames
        poses = self._split.gather_clips(index, frames)
        if self._views is None:
            return Batch(poses.x, poses.y, None)
        clips = self._split.clip_index(index, frames)
        return Batch(poses.x, poses.y, self._views.gather(clips, poses.sequence))


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
