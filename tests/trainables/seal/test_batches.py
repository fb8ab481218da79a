"""Batches of an epoch: each pose once, another order each time, no batch of one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainables.small_trainings import SMALL_BACKBONES
from trainables.config import BackboneName, DataConfig, TrainingConfig
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.errors import TrainableError
from trainables.seal.batches import Batch, TrainingBatches
from trainables.seal.device_data import load_split, middle_frames
from trainables.seal.mirroring import mirror, mirror_some
from trainables.seal.trainer import SealTrainer
from trainables.windows import Window, clip_middles

MakeConfig = Callable[..., TrainingConfig]
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("poses", "batch_size", "limit", "expected"),
    [
        (50, 16, None, [16, 16, 16, 2]),
        (49, 16, None, [16, 16, 16]),  # one pose alone has no batch statistics
        (48, 16, None, [16, 16, 16]),
        (50, 16, 2, [16, 16]),
        (50, 16, 9, [16, 16, 16, 2]),
        (10, 16, None, [10]),
    ],
)
def test_batches_of_an_epoch(
    make_config: MakeConfig,
    tiny_dataset: PoseDataset,
    poses: int,
    batch_size: int,
    limit: int | None,
    expected: list[int],
) -> None:
    whole = tiny_dataset.splits["train"]
    part = PoseSplit(
        whole.x[:poses], whole.y[:poses], None, whole.sequence[:poses], whole.frame[:poses]
    )
    config = make_config(batch_size=batch_size, steps_per_epoch=limit)
    dataset = dataclasses.replace(tiny_dataset, splits={**tiny_dataset.splits, "train": part})
    batches = TrainingBatches(config, dataset, device=CPU, dtype=torch.float32)
    epochs = [[batch.x for batch in batches.epoch("data_order", epoch)] for epoch in (1, 2)]
    for xs in epochs:
        assert [len(x) for x in xs] == expected
        assert len(np.unique(torch.cat(xs).numpy(), axis=0)) == sum(expected)
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))
    trainer = SealTrainer(config, dataset, device=CPU)
    trainer.run_epoch()
    assert trainer.step == len(expected)


def test_frames_that_are_not_scored_are_not_trained_on(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    whole = tiny_dataset.splits["train"]
    valid = np.arange(len(whole)) % 3 != 0
    dataset = dataclasses.replace(
        tiny_dataset,
        splits={**tiny_dataset.splits, "train": dataclasses.replace(whole, valid=valid)},
    )
    config = make_config(batch_size=11)
    batches = TrainingBatches(config, dataset, device=CPU, dtype=torch.float32)
    seen = torch.cat([batch.x for batch in batches.epoch("data_order", 1)]).squeeze(1).numpy()
    wanted = whole.x[valid]
    assert len(seen) == len(wanted)
    assert np.array_equal(np.sort(seen.reshape(-1)), np.sort(wanted.reshape(-1)))


def test_double_flipping_shows_every_clip_as_recorded_and_mirrored(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config(batch_size=30, flip="double")
    batches = list(epoch_of(config, tiny_dataset))
    assert [len(batch.x) for batch in batches] == [30, 30, 30, 10]
    x = torch.cat([batch.x for batch in batches])
    y = torch.cat([batch.y for batch in batches])
    whole = tiny_dataset.splits["train"]
    for seen, recorded in ((x, whole.x), (y, whole.y)):
        wanted = torch.tensor(recorded).unsqueeze(1)
        both = torch.cat([wanted, mirror(wanted, tiny_dataset.skeleton)])
        assert torch.equal(_sorted_rows(seen), _sorted_rows(both))
    mixed = torch.cat([batch.y[:, 0, :, 0].mean(dim=1) for batch in batches[:1]])
    assert mixed.min() < 0 < mixed.max()  # not first all of one kind


def test_random_flipping_shows_every_clip_once_half_of_them_mirrored(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config(batch_size=50, flip="random")
    plain = make_config(batch_size=50)
    (batch,), (recorded,) = (list(epoch_of(c, tiny_dataset)) for c in (config, plain))
    flipped = (batch.x != recorded.x).flatten(1).any(dim=1)
    assert 10 <= flipped.sum() <= 40
    expected = mirror_some(recorded.x, flipped, tiny_dataset.skeleton)
    assert torch.equal(batch.x, expected)
    assert torch.equal(batch.y, mirror_some(recorded.y, flipped, tiny_dataset.skeleton))
    (again,) = epoch_of(config, tiny_dataset)
    assert torch.equal(again.x, batch.x)


@pytest.mark.parametrize(("step", "clips"), [(1, 50), (3, 18), (7, 9), (100, 3)])
def test_clips_start_every_so_many_frames_of_each_sequence(
    make_config: MakeConfig, tiny_dataset: PoseDataset, step: int, clips: int
) -> None:
    whole = tiny_dataset.splits["train"]
    config = make_config(batch_size=100, data={"frames": 3, "clip_step": step})
    (batch,) = epoch_of(config, tiny_dataset)
    assert batch.x.shape == (clips, 3, 17, 2)
    middles = [
        first + int(position)
        for first, length in ((0, 17), (17, 17), (34, 16))
        for position in clip_middles(length, step)
    ]
    expected = torch.tensor(whole.x[middles])
    assert torch.equal(_sorted_rows(batch.x[:, 1]), _sorted_rows(expected))


def test_clips_have_targets_of_all_frames_whatever_is_lifted(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config(batch_size=50, data={"frames": 5})
    batches = TrainingBatches(
        config, tiny_dataset, window=Window(3, "middle"), device=CPU, dtype=torch.float32
    )
    (batch,), (whole,) = batches.epoch("data_order", 1), epoch_of(config, tiny_dataset)
    assert torch.equal(batch.x, whole.x)
    assert torch.equal(batch.y, whole.y)
    assert batch.y.shape[1] == 5


@pytest.mark.parametrize(("window", "reach"), [(Window(), 2), (Window(5, "middle"), 0)])
def test_of_clips_every_frame_that_is_lifted_is_scored(
    make_config: MakeConfig, tiny_dataset: PoseDataset, window: Window, reach: int
) -> None:
    whole = tiny_dataset.splits["train"]
    valid = np.arange(len(whole)) % 12 != 0
    y = np.where(valid[:, None, None], whole.y, np.float32(100.0))
    part = dataclasses.replace(whole, y=y, valid=valid)
    dataset = dataclasses.replace(tiny_dataset, splits={**tiny_dataset.splits, "train": part})
    config = make_config(batch_size=50, data={"frames": 5})
    batches = TrainingBatches(config, dataset, window=window, device=CPU, dtype=torch.float32)
    (batch,) = batches.epoch("data_order", 1)
    assert middle_frames(batch.y, 1 + 2 * reach).max() < 100.0
    borders = np.searchsorted(whole.sequence, [0, 1, 2, 3])
    expected = 0
    for first, end in itertools.pairwise(borders):
        for middle in range(first, end):
            frames = np.clip(np.arange(middle - reach, middle + reach + 1), first, end - 1)
            expected += int(valid[frames].all())
    assert len(batch.x) == expected


def test_no_clip_runs_across_a_gap_in_time(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    whole = tiny_dataset.splits["train"]
    kept = np.r_[0:6, 9:50]  # three frames of the first sequence are missing
    part = PoseSplit(
        whole.x[kept], whole.y[kept], None, whole.sequence[kept], 2 * whole.frame[kept]
    )
    dataset = dataclasses.replace(tiny_dataset, splits={**tiny_dataset.splits, "train": part})
    split = load_split(dataset, "train", device=CPU, dtype=torch.float32)
    assert split.sequence_spans() == [(0, 6), (6, 8), (14, 17), (31, 16)]
    assert split.clip_index(torch.tensor([5, 6]), 3).tolist() == [[4, 5, 5], [6, 6, 7]]


def epoch_of(config: TrainingConfig, dataset: PoseDataset) -> Iterator[Batch]:
    batches = TrainingBatches(config, dataset, device=CPU, dtype=torch.float32)
    return batches.epoch("data_order", 1)


def _sorted_rows(values: torch.Tensor) -> torch.Tensor:
    rows = values.flatten(1).numpy()
    return torch.tensor(rows[np.lexsort(rows.T)])


WINDOW_TERM: dict[str, Any] = {"window_weight": 0.1, "window_frames": 2, "window_shift": 2}


@pytest.mark.parametrize(
    ("backbone", "frames", "fields", "message"),
    [
        (
            "poseformerv2",
            5,
            WINDOW_TERM,
            r"window_weight=0.1 needs poses of at least window_frames \+ window_shift = 4 frames "
            r"of a clip, but of clips of data.frames=5 frames poseformerv2, whose window has 5, "
            r"gives 1; set data.frames=8, or set window_weight=0$",
        ),
        (
            "pstmo",
            5,
            {**WINDOW_TERM, "pose_loss": "backbone"},
            "pstmo, whose window has 3, gives 3; set data.frames=6, and pose_loss='mpjpe', as "
            "pstmo's own loss takes clips of its 3 frames only, or set window_weight=0$",
        ),
        (
            "pstmo",
            6,
            {**WINDOW_TERM, "pose_loss": "backbone"},
            "the own loss of pstmo is of all frames of its window, so it needs clips of 3 frames, "
            "got data.frames=6; set data.frames=3, or pose_loss='mpjpe', or build",
        ),
    ],
)
def test_clips_that_do_not_give_what_a_loss_looks_at_are_refused(
    make_config: MakeConfig,
    tiny_dataset: PoseDataset,
    backbone: BackboneName,
    frames: int,
    fields: dict[str, Any],
    message: str,
) -> None:
    config = make_config(
        backbone=backbone,
        backbone_options=SMALL_BACKBONES[backbone],
        data=DataConfig(frames=frames),
        **fields,
    )
    with pytest.raises(TrainableError, match=message):
        SealTrainer(config, tiny_dataset, device=CPU)


@pytest.mark.parametrize(
    ("backbone", "frames"), [("pstmo", 6), ("poseformerv2", 8), ("mixste", 3)]
)
@pytest.mark.parametrize("pose_loss", ["mse", "mpjpe"])
def test_the_least_clips_that_suffice_are_trained_on(
    make_config: MakeConfig,
    tiny_dataset: PoseDataset,
    backbone: BackboneName,
    frames: int,
    pose_loss: str,
) -> None:
    config = make_config(
        backbone=backbone,
        backbone_options=SMALL_BACKBONES[backbone],
        pose_loss=pose_loss,
        data=DataConfig(frames=frames),
        window_weight=0.1,
        window_frames=2,
        window_shift=1 if backbone == "mixste" else 2,
    )
    figures = SealTrainer(config, tiny_dataset, device=CPU).run_epoch()
    assert figures["train_window_loss"] > 0
