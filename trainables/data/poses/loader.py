"""Own data: a poses file as a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config import NOBODY, DataConfig
from trainables.data.assembly import SplitBuilder
from trainables.data.cameras import Float64Array
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.data.poses.files import find_poses_file, read_table
from trainables.data.poses.table import PoseTable
from trainables.data.splits import base_action, hold_out_validation, splits_in_use
from trainables.errors import DataError
from trainables.names import first_few

__all__ = ["build_dataset", "load_poses", "load_poses_file"]

_OF_SEQUENCE = ("subject", "action", "split", "source", "base_action")
MAX_ORIGIN_OFFSET_M = 1e-3


@dataclass(frozen=True)
class _Sequence:
    """A sequence as one camera saw it.

    Attributes:
        name: Its name in the file.
        info: What it is.
        split: The split that the file gives it.
        rows: Its rows in order of time.
    """

    name: str
    info: SequenceInfo
    split: str
    rows: NDArray[np.intp]


def load_poses(config: DataConfig, data_dir: Path | None) -> PoseDataset:
    """Load `poses.npz` or `poses.parquet` of a folder.

    Args:
        config: Its stride is applied; `val_subject` validates if the file names no split `val`;
            with `none`, rows of that split train.
        data_dir: The folder.

    Returns:
        The data set, of the name that the file gives itself.

    Raises:
        DataError: The file is missing, damaged or malformed; the message names column and row.
        UnsafeDataError: The file asks for code to be run, or unpacks to absurd sizes.
    """
    return load_poses_file(config, find_poses_file(data_dir))


def load_poses_file(config: DataConfig, path: Path) -> PoseDataset:
    """Load a poses file of any name; see `load_poses`."""
    return build_dataset(config, read_table(path), path)


def build_dataset(config: DataConfig, table: PoseTable, path: Path) -> PoseDataset:
    """Turn a table into a data set; see `load_poses`.

    Args:
        config: As for `load_poses`.
        table: The rows.
        path: Their file, for messages.
    """
    notes = list(table.metadata.notes)
    found = list(_sequences(table, path, notes, config.stride))
    assigned = _assign_splits(found, config.val_subject, path, notes)
    skeleton = table.metadata.build_skeleton()
    sequences: list[SequenceInfo] = []
    splits: dict[str, PoseSplit] = {}
    for split in splits_in_use(assigned.values()):
        builder = SplitBuilder(
            first_sequence=len(sequences),
            stride=config.stride,
            skeleton=skeleton,
            knows_root=table.metadata.root_known,
        )
        for number, sequence in enumerate(found):
            if assigned.get(number) == split:
                _add(builder, table, sequence, path)
        sequences.extend(builder.sequences)
        splits[split] = builder.build()
    return PoseDataset(table.metadata.name, skeleton, tuple(sequences), splits, tuple(notes))


def _sequences(table: PoseTable, path: Path, notes: list[str], stride: int) -> Iterator[_Sequence]:
    """All sequences, in the order in which their first rows stand in the file."""
    _check_agreement(table, path)
    names, cameras = table.needed_text("sequence"), table.needed_text("camera")
    keys = names.codes.astype(np.int64) * len(cameras.names) + cameras.codes
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    parts = np.split(order, starts[1:])
    scattered, unsorted, broken, gaps = [], [], [], 0
    for rows in sorted(parts, key=lambda part: int(part[0])):
        name = names.row(int(rows[0]))
        info = _describe(table, rows, name, path, stride)
        if rows[-1] - rows[0] >= len(rows):
            scattered.append(name)
        in_time = _in_order_of_time(table, rows, name, path, ordered=info.ordered)
        if in_time is not rows:
            unsorted.append(name)
        missing = _gaps(table.columns["frame"][in_time]) if info.ordered else 0
        if missing:
            broken.append(f"{name} ({info.view})")
            gaps += missing
        split = table.needed_text("split").row(int(rows[0]))
        yield _Sequence(name, info, split, in_time)
    for what, sequences in (("scattered", scattered), ("not in order of time", unsorted)):
        if sequences:
            notes.append(
                f"rows of {len(sequences)} sequences are {what} in the file and were put in "
                f"order: {first_few(sequences)}"
            )
    if broken:
        note = (
            f"frame numbers of {len(broken)} sequences jump at {gaps} places, across which no "
            f"clip runs: {first_few(broken)}"
        )
        if note not in notes:  # it is if the file was converted from such data
            notes.append(note)


def _gaps(frames: NDArray[np.int64]) -> int:
    """How often frame numbers in order of time go on by more than their smallest step."""
    steps = np.diff(frames)
    return int((steps != steps.min()).sum()) if steps.size else 0


def _check_agreement(table: PoseTable, path: Path) -> None:
    """All rows of a sequence agree on what it is, whichever camera saw it."""
    names = table.needed_text("sequence")
    _, firsts, number = np.unique(names.codes, return_index=True, return_inverse=True)
    first = firsts[number.reshape(-1)]
    for column in _OF_SEQUENCE:
        labels = table.text(column)
        if labels is None:
            continue
        other = np.flatnonzero(labels.codes != labels.codes[first])
        if other.size:
            row = int(other[0])
            begin = int(first[row])
            raise DataError(
                f"{path}: column {column}, row {row}: {labels.row(row)!r}, but sequence "
                f"{names.row(row)!r} began with {labels.row(begin)!r} in row {begin}; a sequence "
                "has one, for all its cameras; give the sequences different names"
            )


def _describe(
    table: PoseTable, rows: NDArray[np.intp], name: str, path: Path, stride: int
) -> SequenceInfo:
    """What a sequence is; all its rows must agree on its frame rate and order."""
    first = int(rows[0])
    fps, ordered = table.numbers("fps"), table.numbers("ordered")
    for column, values in (("fps", fps), ("ordered", ordered)):
        if values is not None and (values[rows] != values[first]).any():
            other = rows[values[rows] != values[first]]
            raise DataError(
                f"{path}: column {column}, row {other[0]}: differs from row {first} of the same "
                f"sequence {name!r}, expected one value in a sequence"
            )
    camera_id = table.needed_text("camera").row(first)
    entry = table.metadata.cameras[camera_id]
    camera = entry.to_camera()
    source, action = table.text("source"), table.needed_text("action").row(first)
    base = table.text("base_action")
    rate = float(table.metadata.fps or 0.0) if fps is None else float(fps[first])
    return SequenceInfo(
        subject=table.needed_text("subject").row(first),
        action=action,
        base_action=(base and base.row(first)) or base_action(action),
        view=entry.view or camera_id,
        source=(source and source.row(first)) or None,
        fps=rate / stride,
        camera=camera,
        image_size=(entry.width, entry.height) if camera is None else None,
        ordered=True if ordered is None else bool(ordered[first]),
    )


def _in_order_of_time(
    table: PoseTable, rows: NDArray[np.intp], name: str, path: Path, *, ordered: bool
) -> NDArray[np.intp]:
    """The rows of a sequence by frame; the very same array if they are in order already."""
    frames = table.columns["frame"][rows]
    steps = np.diff(frames)
    if (steps > 0).all():
        return rows
    by_frame = rows[np.argsort(frames, kind="stable")]
    sorted_frames = table.columns["frame"][by_frame]
    again = np.flatnonzero(np.diff(sorted_frames) == 0)
    if again.size:
        first, second = (int(by_frame[again[0] + offset]) for offset in (0, 1))
        raise DataError(
            f"{path}: rows {first} and {second} are both frame {sorted_frames[again[0]]} of "
            f"sequence {name!r} seen by camera {table.needed_text('camera').row(first)!r}; "
            "expected one row for each; remove one"
        )
    return by_frame if ordered else rows


def _assign_splits(
    found: list[_Sequence], val_subject: str | None, path: Path, notes: list[str]
) -> dict[int, str]:
    """Split of each sequence by its number; those left out are missing."""
    given = {number: sequence.split for number, sequence in enumerate(found)}
    names = set(given.values())
    if "train" not in names or "test" not in names:
        raise DataError(
            f"{path}: the column split has {', '.join(sorted(names))}, expected rows of train and "
            "test (and val, or validation comes out of train)"
        )
    if val_subject == NOBODY:
        notes.append("validation: nobody; all rows but those of test train")
        return {number: split.replace("val", "train") for number, split in given.items()}
    if "val" in names:
        if val_subject is not None:
            raise DataError(
                f"val_subject={val_subject!r} has no effect: {path} names the validation rows "
                "itself (split val); leave it out"
            )
        return given
    training = {
        (sequence.info.subject, sequence.name): sequence.info.source
        for sequence in found
        if sequence.split == "train"
    }
    sources = {key: source for key, source in training.items() if source}
    if sources and len(sources) != len(training):
        raise DataError(
            f"{path}: {len(training) - len(sources)} of {len(training)} training sequences have "
            "no source, the others have one; fill in the column for all, or for none"
        )
    chosen, note = hold_out_validation(list(training), sources, val_subject=val_subject)
    notes.append(note)
    held_out: Mapping[int, str | None] = {
        number: chosen.get((sequence.info.subject, sequence.name))
        if sequence.split == "train"
        else sequence.split
        for number, sequence in enumerate(found)
    }
    return {number: split for number, split in held_out.items() if split is not None}


def _add(builder: SplitBuilder, table: PoseTable, sequence: _Sequence, path: Path) -> None:
    """Add a sequence to its split."""
    rows, valid, origins = sequence.rows, table.numbers("valid"), table.numbers("origin_3d")
    points_m = _metres(table, table.columns["pose_3d"][rows])
    origin_m = None if origins is None else _metres(table, origins[rows])
    if origin_m is not None:
        _check_origin(table, points_m, origin_m, rows, path)
    builder.add(
        sequence.info,
        points_m,
        table.columns["pose_2d"][rows],
        valid=None if valid is None else valid[rows].astype(np.bool_),
        frames=table.columns["frame"][rows],
        origin_m=origin_m,
    )


def _metres(table: PoseTable, places: Float64Array) -> Float64Array:
    factor = table.metadata.metres_per_unit
    return places if factor == 1.0 else places * factor


def _check_origin(
    table: PoseTable,
    points_m: Float64Array,
    origin_m: Float64Array,
    rows: NDArray[np.intp],
    path: Path,
) -> None:
    """The column is there for the last digit only; it may not move a pose."""
    skeleton = table.metadata.build_skeleton()
    middle = points_m[:, list(skeleton.origin or (skeleton.root,))].mean(axis=1)
    apart_m = np.linalg.norm(middle - origin_m, axis=1)
    worst = int(apart_m.argmax())
    if apart_m[worst] > MAX_ORIGIN_OFFSET_M:
        raise DataError(
            f"{path}: column origin_3d, row {rows[worst]}: {1000 * apart_m[worst]:.3g} mm from "
            "the pose's own origin, expected the same place; leave the column out"
        )
