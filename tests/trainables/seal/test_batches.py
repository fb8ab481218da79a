"""Batches of an epoch: each pose once, another order each time, no batch of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.seal.batches import TrainingBatches
from trainables.seal.trainer import SealTrainer

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
