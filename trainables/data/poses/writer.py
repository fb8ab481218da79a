"""Any decoded data set as a poses file from which the very same arrays are loaded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from trainables.data.cameras import pixels_from_screen
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.data.poses.files import write_table
from trainables.data.poses.metadata import (
    MAX_METADATA_CHARACTERS,
    MAX_NOTE_CHARACTERS,
    MAX_NOTES,
    CameraEntry,
    PosesMetadata,
    camera_entry,
)
from trainables.data.poses.table import Labels, PoseTable
from trainables.errors import DataError
from trainables.names import printable
from trainables.skeletons.description import skeleton_reference

__all__ = ["table_of", "write_poses"]

SPLIT_NAMES = ("train", "val", "test")


def write_poses(dataset: PoseDataset, path: Path) -> None:
    """Write a data set as a poses file; loaded again, it has the same arrays and content hash.

    Args:
        dataset: A decoded data set.
        path: A file with the suffix `.npz` or `.parquet`; one that exists is replaced.

    Raises:
        DataError: The data set cannot be written in this form, or the file cannot be written.
    """
    write_table(table_of(dataset), path)


def table_of(dataset: PoseDataset) -> PoseTable:
    """A data set as rows: 2D in pixels, 3D in metres, both float64.

    Raises:
        DataError: The size of a sequence's images is unknown, only some splits know where the
            root is, or the metadata cannot hold a name.
    """
    splits = [dataset.splits[name] for name in SPLIT_NAMES if name in dataset.splits]
    known = {split.root is not None for split in splits}
    if len(known) > 1:
        raise DataError(f"{dataset.name}: only some splits know the root's place; expected all")
    cameras, camera_ids = _cameras(dataset)
    try:
        metadata = PosesMetadata(
            format_version=1,
            name=dataset.name,
            unit="m",
            skeleton=_reference(dataset),
            cameras=cameras,
            root_known=known != {False},
            notes=_notes(dataset.notes),
        )
    except ValueError as error:
        raise DataError(f"{dataset.name}: cannot be written as a poses file: {error}") from error
    length = len(metadata.to_json())
    if length > MAX_METADATA_CHARACTERS:
        raise DataError(
            f"{dataset.name}: its metadata have {length} characters, a poses file "
            f"holds at most {MAX_METADATA_CHARACTERS}; it has {len(cameras)} cameras, write fewer"
        )
    return PoseTable(metadata, MappingProxyType(_columns(dataset, splits, camera_ids)))


def _notes(notes: Sequence[str]) -> tuple[str, ...]:
    """As many notes, and as much of each, as a file may have."""
    shown = [printable(note, MAX_NOTE_CHARACTERS - 100) for note in notes]
    return tuple(shown[:MAX_NOTES])


def _reference(dataset: PoseDataset) -> str | dict[str, Any]:
    reference = skeleton_reference(dataset.skeleton)
    return reference if isinstance(reference, str) else dict(reference)


def _cameras(dataset: PoseDataset) -> tuple[dict[str, CameraEntry], list[str]]:
    """Cameras by id, and the id of each sequence; a view with two calibrations has two ids."""
    ids: dict[tuple[str, CameraEntry], str] = {}
    entries: dict[str, CameraEntry] = {}
    of_sequence = []
    for info in dataset.sequences:
        if info.size is None or (info.camera is not None and info.image_size is not None):
            raise DataError(
                f"{dataset.name}: {info.subject} {info.action!r} {info.view}: expected either the "
                "camera's calibration or the size of its images"
            )
        key = info.view, camera_entry(info.camera, info.size, None)
        if key not in ids:
            name, number = info.view, 2
            while name in entries:
                name, number = f"{info.view} #{number}", number + 1
            ids[key] = name
            view = None if name == info.view else info.view
            entries[name] = camera_entry(info.camera, info.size, view)
        of_sequence.append(ids[key])
    return entries, of_sequence


def _columns(
    dataset: PoseDataset, splits: Sequence[PoseSplit], camera_ids: Sequence[str]
) -> dict[str, Any]:
    infos = dataset.sequences
    numbers = np.concatenate([split.sequence for split in splits])
    names = [name for name in SPLIT_NAMES if name in dataset.splits]
    lengths = [len(split) for split in splits]
    split_of = {
        int(number): name
        for name, split in zip(names, splits, strict=True)
        for number in np.unique(split.sequence)
    }
    points, origins, exact = _places(dataset, splits)
    columns: dict[str, Any] = {
        "pose_2d": _pixels(infos, numbers, np.concatenate([split.x for split in splits])),
        "pose_3d": points,
        "subject": _labels([info.subject for info in infos], numbers),
        "action": _labels([info.action for info in infos], numbers),
        "sequence": _labels(_sequence_names(infos, camera_ids, split_of), numbers),
        "frame": np.concatenate([split.frame for split in splits]).astype(np.int64),
        "camera": _labels(camera_ids, numbers),
        "split": _labels(names, np.repeat(np.arange(len(names)), lengths)),
        "source": _labels([info.source or "" for info in infos], numbers),
        "base_action": _labels([info.base_action for info in infos], numbers),
        "fps": np.asarray([info.fps for info in infos], np.float64)[numbers],
    }
    if any(split.valid is not None for split in splits):
        columns["valid"] = np.concatenate(
            [np.ones(len(s), np.bool_) if s.valid is None else s.valid for s in splits]
        )
    if not all(info.ordered for info in infos):
        columns["ordered"] = np.asarray([info.ordered for info in infos], np.bool_)[numbers]
    if not exact:
        columns["origin_3d"] = origins
    return columns


def _labels(values: Sequence[str], numbers: np.ndarray[Any, Any]) -> Labels:
    names = tuple(dict.fromkeys(values))
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.asarray([code_of[value] for value in values], np.int32)
    return Labels(names, codes[numbers])


def _sequence_names(
    infos: Sequence[SequenceInfo], camera_ids: Sequence[str], split_of: Mapping[int, str]
) -> list[str]:
    """A name for each sequence that, with its camera, is the only one.

    Sequences that share a name are one take, seen by several cameras, of one split.
    """
    taken: dict[str, tuple[object, set[str]]] = {}
    names = []
    for index, (info, camera) in enumerate(zip(infos, camera_ids, strict=True)):
        base = f"{info.subject} {info.action}"
        facts = (split_of.get(index), info.subject, info.action, info.source, info.base_action)
        name, number = base, 2
        while name in taken and (taken[name][0] != facts or camera in taken[name][1]):
            name, number = f"{base} #{number}", number + 1
        taken.setdefault(name, (facts, set()))[1].add(camera)
        names.append(name)
    return names


def _pixels(
    infos: Sequence[SequenceInfo], numbers: np.ndarray[Any, Any], x: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    pixels = np.empty(x.shape, np.float64)
    sizes = {info.size for info in infos if info.size is not None}
    size_of = np.asarray([info.size or (0, 0) for info in infos])[numbers]
    for size in sizes:
        rows = (size_of == size).all(axis=1)
        pixels[rows] = pixels_from_screen(x[rows], size)
    return pixels


def _places(
    dataset: PoseDataset, splits: Sequence[PoseSplit]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], bool]:
    """Joints (N, J, 3), origins (N, 3), and whether the joints alone give the origin exactly.

    Where the origin is a root joint, that is at 0 and they do. A mean of several joints was
    rounded, and is stored beside them.
    """
    relative = np.concatenate([split.y for split in splits]).astype(np.float64)
    roots = [np.zeros((len(s), 3)) if s.root is None else s.root for s in splits]
    origins = np.concatenate(roots).astype(np.float64)
    joints = list(dataset.skeleton.origin or (dataset.skeleton.root,))
    exact = not relative[:, joints].mean(axis=1).any()
    return relative + origins[:, None], origins, exact
