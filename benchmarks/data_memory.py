"""What the data cost in memory where several trials of one machine train on them."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from trainables.config import DataConfig, TrainingConfig
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.loading import load_dataset
from trainables.seal.trainer import SealTrainer

__all__ = ["DataMemory", "measure_memory", "repeated"]

TRAINING = TrainingConfig(
    backbone="videopose",
    backbone_options={"channels": 8},
    loss_net="none",
    lr_p=1e-3,
    batch_size=256,
    steps_per_epoch=40,
    data=DataConfig(name="h36m", max_eval_poses=500),
)
"""So small a net that the data are what takes memory."""

_SAMPLE_S = 0.01
_MIB = 2**20


@dataclass(frozen=True)
class DataMemory:
    """Memory that the data take while some workers train on them.

    Attributes:
        workers: How many train at the same time.
        poses: Poses of all splits.
        training_poses: Poses of the training split.
        shared_mib: Arrays in Ray's object store, which all workers map.
        private_mib: What each worker has of its own beyond what it had before it got them, at
            its highest.
    """

    workers: int
    poses: int
    training_poses: int
    shared_mib: float
    private_mib: tuple[float, ...]

    @property
    def total_mib(self) -> float:
        """All of it."""
        return self.shared_mib + sum(self.private_mib)


def measure_memory(
    data_dir: Path, cache: Path, *, repeats: int, workers: tuple[int, ...]
) -> list[DataMemory]:
    """Train on the data, repeated, with so many workers at a time.

    Args:
        data_dir: Human3.6M-formatted files.
        cache: Where decoded data are kept.
        repeats: How often each pose occurs, so that there are as many as in the real data.
        workers: Numbers of workers, one measurement each.

    Returns:
        The measurements.
    """
    single = load_dataset(DataConfig(name="h36m"), data_dir, cache=cache)
    dataset = repeated(single, repeats)
    shared_mib = sum(a.nbytes for s in dataset.splits.values() for a in _arrays(s)) / _MIB
    few = load_dataset(DataConfig(name="h36m", stride=50), data_dir, cache=cache)
    with _local_ray(max(workers), object_store_mib=int(shared_mib * 1.3) + 200):
        reference = ray.put(dataset)
        small = ray.put(few)
        poses = sum(len(split) for split in dataset.splits.values())
        training_poses = len(dataset.splits["train"])
        del dataset
        return [
            DataMemory(
                workers=count,
                poses=poses,
                training_poses=training_poses,
                shared_mib=shared_mib,
                private_mib=tuple(_train(count, small, reference)),
            )
            for count in workers
        ]


def repeated(dataset: PoseDataset, count: int) -> PoseDataset:
    """The same sequences several times, as if they were others."""
    sequences = dataset.sequences * count
    step = len(dataset.sequences)
    splits = {}
    for name, split in dataset.splits.items():
        shifts = np.repeat(np.arange(count, dtype=np.int32) * step, len(split))
        splits[name] = PoseSplit(
            x=np.concatenate([split.x] * count),
            y=np.concatenate([split.y] * count),
            root=None if split.root is None else np.concatenate([split.root] * count),
            sequence=np.concatenate([split.sequence] * count) + shifts,
            frame=np.concatenate([split.frame] * count),
            valid=None if split.valid is None else np.concatenate([split.valid] * count),
        )
    return replace(dataset, sequences=sequences, splits=splits)


def _arrays(split: PoseSplit) -> Iterator[Any]:
    for array in (split.x, split.y, split.root, split.sequence, split.frame, split.valid):
        if array is not None:
            yield array


@contextmanager
def _local_ray(workers: int, *, object_store_mib: int) -> Iterator[None]:
    """Ray for this measurement alone; its dashboard and usage reports are off."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        ray.init(
            address="local",
            num_cpus=workers,
            include_dashboard=False,
            object_store_memory=object_store_mib * _MIB,
            _temp_dir=folder,
            log_to_driver=False,
        )
        try:
            yield
        finally:
            ray.shutdown()


def _train(count: int, small: Any, reference: Any) -> list[float]:
    """Train in fresh workers at the same time; what each took of its own, MiB."""
    actor = ray.remote(num_cpus=1)(_Worker)
    workers = [actor.remote() for _ in range(count)]
    ray.get([worker.warm_up.remote(small) for worker in workers])
    figures = ray.get([worker.train.remote([reference]) for worker in workers])
    for worker in workers:
        ray.kill(worker)
    return [float(figure) for figure in figures]


class _Worker:
    """One trial's process."""

    def warm_up(self, dataset: PoseDataset) -> None:
        """Train on few poses, so that what torch keeps for any training is there before."""
        torch.set_num_threads(1)
        _run_epochs(dataset)

    def train(self, wrapped: list[Any]) -> float:
        """Get the data set, whose reference Ray leaves alone in a list, and train."""
        before = _anonymous_mib()
        with _highest_mib() as highest:
            _run_epochs(ray.get(wrapped[0]))
        return highest[0] - before


def _run_epochs(dataset: PoseDataset) -> None:
    trainer = SealTrainer(TRAINING, dataset, device=torch.device("cpu"))
    for _ in range(2):
        trainer.run_epoch()


@contextmanager
def _highest_mib() -> Iterator[list[float]]:
    """Watch this process's own memory in a thread."""
    highest = [_anonymous_mib()]
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            highest[0] = max(highest[0], _anonymous_mib())
            time.sleep(_SAMPLE_S)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()


def _anonymous_mib() -> float:
    """Memory of this process that no file and no other process shares."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    (kib,) = re.findall(r"^Anonymous:\s+(\d+) kB$", text, re.MULTILINE)
    return int(kib) / 1024
