"""The way in: a data set by its name, decoded and verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from trainables.config import DataConfig, DatasetName
from trainables.data.cache.access import load_through_cache
from trainables.data.cache.folder import CacheFolder
from trainables.data.dataset import PoseDataset
from trainables.data.h3wb.loader import h3wb_files, load_h3wb
from trainables.data.h36m.files import h36m_files
from trainables.data.h36m.loader import load_h36m
from trainables.data.mpi_inf_3dhp.loader import load_mpi_inf_3dhp, mpi_inf_3dhp_files
from trainables.data.poses.files import poses_files
from trainables.data.poses.loader import load_poses
from trainables.data.reduction import leave_out_neck
from trainables.data.sample.loader import load_sample
from trainables.data.verification import verify_dataset

__all__ = ["DATASETS", "DatasetEntry", "load_dataset"]


@dataclass(frozen=True)
class DatasetEntry:
    """What is known of a data set.

    Attributes:
        load: Its loader.
        description: One line for people.
        files: All files of the folder that the loader may read, whether they exist or not, so
            that a change in any of them is noticed; None for data that need no folder.
    """

    load: Callable[[DataConfig, Path | None], PoseDataset]
    description: str
    files: Callable[[DataConfig, Path], tuple[Path, ...]] | None = None


DATASETS: Mapping[DatasetName, DatasetEntry] = MappingProxyType(
    {
        "sample": DatasetEntry(load=load_sample, description="bundled: real motion, small"),
        "h36m": DatasetEntry(
            load=load_h36m,
            description="Human3.6M in VideoPose3D's npz files",
            files=h36m_files,
        ),
        "poses": DatasetEntry(
            load=load_poses,
            description="own data in poses.npz or poses.parquet",
            files=poses_files,
        ),
        "mpi_inf_3dhp": DatasetEntry(
            load=load_mpi_inf_3dhp,
            description="MPI-INF-3DHP in P-STMO's npz files, or the official test annotations",
            files=mpi_inf_3dhp_files,
        ),
        "h3wb": DatasetEntry(
            load=load_h3wb,
            description="Human3.6M WholeBody, 133 joints, in its JSON or npz form",
            files=h3wb_files,
        ),
    }
)
"""All data sets, by the names that the configuration knows."""


def load_dataset(
    config: DataConfig, data_dir: Path | None = None, *, cache: Path | None = None
) -> PoseDataset:
    """Load and verify a data set.

    The stride is applied; `max_eval_poses` is left to whoever evaluates. `config.content_hash`
    is neither read nor set: compare it with `PoseDataset.content_hash()`.

    Args:
        config: Which data, and how they are read.
        data_dir: Folder of the data; not needed for `sample`.
        cache: Folder where what was decoded is kept, for later starts to map; None to decode.
            Trouble with it is logged, never raised.

    Returns:
        The data set.

    Raises:
        DataError: Files are missing, unreadable or malformed, or what they hold is implausible.
        UnsafeDataError: A file asks for code to be run.
    """
    entry = DATASETS[config.name]
    if cache is None or data_dir is None or entry.files is None:
        return _read(config, data_dir)
    return load_through_cache(
        config,
        data_dir,
        CacheFolder(cache),
        files=entry.files,
        read=partial(_read, config, data_dir),
    )


def _read(config: DataConfig, data_dir: Path | None) -> PoseDataset:
    dataset = DATASETS[config.name].load(config, data_dir)
    verify_dataset(dataset, validates=config.validates)
    return dataset if config.joints is None else leave_out_neck(dataset)
