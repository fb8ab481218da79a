"""The way in: a data set by its name, decoded and verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from trainables.config import DataConfig, DatasetName
from trainables.data.dataset import PoseDataset
from trainables.data.h36m import load_h36m
from trainables.data.reduction import leave_out_neck
from trainables.data.sample_loader import load_sample
from trainables.data.verification import verify_dataset

__all__ = ["DATASETS", "Loader", "load_dataset"]

Loader = Callable[[DataConfig, Path | None], PoseDataset]

DATASETS: Mapping[DatasetName, Loader] = {
    "sample": load_sample,
    "h36m": load_h36m,
}
"""All data sets, by the names that the configuration knows."""


def load_dataset(config: DataConfig, data_dir: Path | None = None) -> PoseDataset:
    """Load and verify a data set.

    The stride is applied; `max_eval_poses` is left to whoever evaluates. `config.content_hash`
    is neither read nor set: compare it with `PoseDataset.content_hash()`.

    Args:
        config: Which data, which key points, which stride.
        data_dir: Folder of the data; not needed for `sample`.

    Returns:
        The data set.

    Raises:
        DataError: Files are missing, unreadable or malformed, or what they hold is implausible.
        UnsafeDataError: A file asks for code to be run.
    """
    dataset = DATASETS[config.name](config, data_dir)
    verify_dataset(dataset)
    return dataset if config.joints is None else leave_out_neck(dataset)
