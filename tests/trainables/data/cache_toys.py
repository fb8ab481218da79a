"""Data sets made up on the spot, by way of the cache; run in processes of their own, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from trainables.config import DataConfig
from trainables.data.cache.access import load_through_cache
from trainables.data.cache.folder import LIMIT_BYTES, CacheFolder
from trainables.data.dataset import Camera, PoseDataset, PoseSplit, SequenceInfo
from trainables.skeletons import H36M_17

CONFIG = DataConfig(name="h36m")
SOURCE, OPTIONAL = "poses.bin", "optional.csv"


def make_dataset(seed: int, poses: int = 60) -> PoseDataset:
    """Random poses; the source file's first byte is the seed, so that content follows it."""
    rng = np.random.default_rng(seed)
    camera = Camera(1000, 1002, (1145.0, 1143.8), (512.5, 515.4), (-0.2, 0.24, -0.002))
    info = partial(SequenceInfo, base_action="walk", view="c1", source=None, fps=50)
    sequences = (
        info("S1", "walk 1", camera=camera),
        info("S8", "walk é", image_size=(640, 480)),
        info("S9", "walk 3", ordered=False),
    )
    splits = {}
    for number, name in enumerate(("train", "val", "test")):
        count = poses + number
        splits[name] = PoseSplit(
            x=rng.standard_normal((count, 17, 2), np.float32),
            y=rng.standard_normal((count, 17, 3), np.float32),
            root=rng.standard_normal((count, 3), np.float32) if number else None,
            sequence=np.full(count, number, np.int32),
            frame=np.arange(count, dtype=np.int32),
            valid=rng.random(count) < 0.5 if number == 1 else None,
        )
    return PoseDataset("h36m", H36M_17, sequences, splits, ("a note",))


def write_source(folder: Path, seed: int) -> Path:
    """A data folder with the one file that `load` reads."""
    folder.mkdir(exist_ok=True)
    (folder / SOURCE).write_bytes(bytes([seed]) * 100)
    return folder


class Loader:
    """Loads through the cache, and counts how often the source was read."""

    def __init__(
        self, folder: Path, cache: Path, *, poses: int = 60, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.folder = folder
        self.cache = CacheFolder(cache, limit_bytes)
        self.poses = poses
        self.reads = 0
        self.while_reading: Callable[[], object] = lambda: None

    def __call__(self, config: DataConfig = CONFIG) -> PoseDataset:
        return load_through_cache(
            config, self.folder, self.cache, files=source_files, read=self._read
        )

    def _read(self) -> PoseDataset:
        self.reads += 1
        content = (self.folder / SOURCE).read_bytes()
        self.while_reading()
        return make_dataset(content[0], self.poses)


def source_files(_config: DataConfig, folder: Path) -> tuple[Path, ...]:
    """A file that is needed, and one that is not."""
    return folder / SOURCE, folder / OPTIONAL


def is_mapped(dataset: PoseDataset) -> bool:
    """Whether no array of the training split can be written."""
    split = dataset.splits["train"]
    return not any(a.flags.writeable for a in (split.x, split.y, split.sequence, split.frame))


def load_at_once(folder: Path, cache: Path, barrier: Barrier, answer: Path, poses: int) -> None:
    """For a process: wait for the others, load, and write down what came out."""
    barrier.wait()
    dataset = Loader(folder, cache, poses=poses)()
    answer.write_text(json.dumps([dataset.content_hash(), is_mapped(dataset)]))


def write_for_ever(folder: Path, cache: Path, started: Any, poses: int) -> None:
    """For a process: write the entry again and again."""
    loader = Loader(folder, cache, poses=poses)
    started.set()
    while True:
        loader()
        for path in cache.glob("*.json"):
            path.unlink()
