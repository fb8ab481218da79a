"""Data of any kind as a poses file: `tuner data convert`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from trainables.config import DataConfig
from trainables.data.dataset import PoseDataset
from trainables.data.inspection import check_dataset
from trainables.data.loading import load_dataset
from trainables.data.poses.bvh import convert_bvh
from trainables.data.poses.bvh_map import BvhMap, SplitRule, load_bvh_map
from trainables.data.poses.files import write_table
from trainables.data.poses.loader import build_dataset
from trainables.data.poses.table import PoseTable
from trainables.data.poses.writer import write_poses
from trainables.data.verification import verify_dataset
from trainables.names import first_few
from tuner.errors import ConfigurationError
from tuner.wiring.files import check_writable

__all__ = ["Conversion", "convert_bvh_files", "convert_dataset"]

IDLE_FIELDS = {"content_hash", "max_eval_poses", "frames", "clip_step"}
"""Fields that say how data are used, not what they are."""
SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        out: The file.
        poses: Its rows.
        sequences: Sequences, as one camera saw them.
        splits: Poses by split.
        hash: Content hash that it has when it is loaded; None if it cannot be loaded alone,
            since a split is missing.
        notes: For people.
        problems: What is implausible, as `tuner data verify` will say.
    """

    out: Path
    poses: int
    sequences: int
    splits: dict[str, int]
    hash: str | None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "out": str(self.out),
            "poses": self.poses,
            "sequences": self.sequences,
            "splits": self.splits,
            "hash": self.hash,
            "notes": list(self.notes),
            "problems": list(self.problems),
        }


def convert_dataset(
    config: DataConfig, data_dir: Path | None, out: Path, *, force: bool = False
) -> Conversion:
    """Write a data set as a poses file that loads to the same arrays and hash.

    Args:
        config: Which data set, and how it is read.
        data_dir: Its folder.
        out: A `.npz` or `.parquet` file.
        force: Whether a file that exists is replaced.

    Raises:
        ConfigurationError: The file cannot be written, or exists, or a field has no effect here.
        DataError: The data set cannot be read.
    """
    idle = sorted(IDLE_FIELDS & config.model_fields_set)
    if idle:
        raise ConfigurationError(
            f"--set {', '.join(idle)}: has no effect on what is written; give it when the file is "
            "used"
        )
    _check_out(out, force=force)
    dataset = load_dataset(config, data_dir)
    write_poses(dataset, out)
    return _of_dataset(dataset, out)


def convert_bvh_files(
    paths: Sequence[Path],
    map_name: str,
    out: Path,
    *,
    val: Sequence[str] = (),
    test: Sequence[str] = (),
    force: bool = False,
) -> Conversion:
    """Write BVH files as a poses file, seen by virtual cameras.

    Args:
        paths: The files.
        map_name: `cmu`, `mixamo`, or a YAML file.
        out: A `.npz` or `.parquet` file.
        val: Patterns of file names, without the suffix, that validate; before the map's rules.
        test: Patterns of those that test.
        force: Whether a file that exists is replaced.

    Raises:
        ConfigurationError: The file cannot be written, or exists, or a pattern fits no file.
        DataError: A file or the map is malformed, or what comes out is implausible.
    """
    _check_out(out, force=force)
    for option, patterns in (("--val", val), ("--test", test)):
        _check_patterns(option, patterns, paths)
    mapping = _with_splits(load_bvh_map(map_name), val, test)
    table = convert_bvh(paths, mapping)
    counts = _splits_of(table)
    if not {"train", "test"} <= set(counts):
        write_table(table, out)
        note = (
            f"only {' and '.join(counts)} rows: to be loaded, a file needs train and test; name "
            "test files with --test PATTERN, or in the map"
        )
        return Conversion(out, len(table), _sequences_of(table), counts, None, (note,))
    dataset = build_dataset(DataConfig(name="poses"), table, out)
    verify_dataset(dataset)
    write_table(table, out)
    return _of_dataset(dataset, out)


def _check_out(out: Path, *, force: bool) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(
            f"--to {out}: suffix {out.suffix or '(none)'!r} is unknown; known: "
            f"{', '.join(SUFFIXES)}"
        )
    check_writable(out, option="--to")
    if out.exists() and not force:
        raise ConfigurationError(f"--to {out}: exists; name another file, or give --force")


def _check_patterns(option: str, patterns: Sequence[str], paths: Sequence[Path]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(path.stem, pattern) for path in paths):
            stems = first_few([path.stem for path in paths])
            raise ConfigurationError(
                f"{option} {pattern!r}: fits none of the files (without .bvh): {stems}"
            )


def _with_splits(mapping: BvhMap, val: Sequence[str], test: Sequence[str]) -> BvhMap:
    rules = [SplitRule(files=pattern, split="test") for pattern in test]
    rules += [SplitRule(files=pattern, split="val") for pattern in val]
    return mapping.model_copy(update={"splits": (*rules, *mapping.splits)})


def _of_dataset(dataset: PoseDataset, out: Path) -> Conversion:
    splits = {name: len(split) for name, split in dataset.splits.items()}
    return Conversion(
        out=out,
        poses=sum(splits.values()),
        sequences=len(dataset.sequences),
        splits=splits,
        hash=dataset.content_hash(),
        notes=dataset.notes,
        problems=tuple(c.message for c in check_dataset(dataset) if c.verdict == "problem"),
    )


def _splits_of(table: PoseTable) -> dict[str, int]:
    labels = table.needed_text("split")
    counts = {name: int((labels.codes == code).sum()) for code, name in enumerate(labels.names)}
    return {name: counts[name] for name in ("train", "val", "test") if counts.get(name)}


def _sequences_of(table: PoseTable) -> int:
    codes = [table.needed_text(name).codes for name in ("sequence", "camera")]
    return len(np.unique(np.stack(codes), axis=1).T)
