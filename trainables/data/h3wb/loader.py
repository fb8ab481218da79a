"""Human3.6M WholeBody: 133 joints, camera's frame, relative to between the hips, metres."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.assembly import SplitBuilder
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.data.h3wb.folds import FOLDS_FILE, assign_folds, split_samples
from trainables.data.h3wb.json_reader import read_json
from trainables.data.h3wb.npz_form import read_npz_form
from trainables.data.h3wb.samples import Samples, Take
from trainables.data.h36m.cameras import CAMERAS
from trainables.data.source_files import check_file, find_files, require_folder
from trainables.data.splits import base_action
from trainables.skeletons import H3WB_133

__all__ = ["h3wb_files", "load_h3wb"]

JSON_FILE = "2Dto3D_train.json"
NPZ_FILE = "h3wb_train.npz"
HOW_TO_GET = (
    f"get {JSON_FILE} or {NPZ_FILE} from https://github.com/wholebody3d/wholebody3d, and name "
    "their folder with --data-dir"
)
FPS = 50.0
"""Human3.6M's frame rate. Samples are single frames of its videos."""
ASSUMED_SIZE = (1000, 1000)
MM_PER_M = 1000.0


def h3wb_files(config: DataConfig, folder: Path) -> tuple[Path, ...]:
    """The files that `load_h3wb` may read: the npz, or else the JSON, and perhaps the folds."""
    return tuple(folder / name for name in (NPZ_FILE, JSON_FILE, FOLDS_FILE))


def load_h3wb(config: DataConfig, data_dir: Path | None) -> PoseDataset:
    """Load H3WB's training file, the only one whose 3D is published.

    One of five folds tests, the end of the others validates. The paper's figures are means over
    `config.fold` from 0 to 4.

    Args:
        config: Fold and stride.
        data_dir: Folder with `h3wb_train.npz` or `2Dto3D_train.json`; may hold a `folds.json`.

    Returns:
        The data set; all of its sequences are loose poses.

    Raises:
        DataError: Files are missing or malformed.
        UnsafeDataError: A file asks for code to be run.
    """
    folder = require_folder(data_dir, dataset="h3wb", cure=HOW_TO_GET)
    samples, notes = _read(folder)
    fold, source = assign_folds(samples, folder)
    positions, validation = split_samples(fold, samples.moment, config.fold)
    sequences: list[SequenceInfo] = []
    splits: dict[str, PoseSplit] = {}
    for name, chosen in positions.items():
        builder = SplitBuilder(
            first_sequence=len(sequences),
            stride=config.stride,
            skeleton=H3WB_133,
            knows_root=samples.knows_place,
        )
        _add_takes(builder, samples, chosen, config.stride)
        sequences.extend(builder.sequences)
        splits[name] = builder.build()
    notes += [*samples.notes, source, *validation]
    if not samples.knows_place:
        notes.append("the 3D does not say where in the camera's frame poses are")
    return PoseDataset("h3wb", H3WB_133, tuple(sequences), splits, tuple(notes))


def _read(folder: Path) -> tuple[Samples, list[str]]:
    """Read the npz if it is there, else the JSON; notes if both are."""
    found = [name for name in (NPZ_FILE, JSON_FILE) if os.path.lexists(folder / name)]
    if NPZ_FILE not in found:
        (path,) = find_files(folder, (JSON_FILE,), cure=HOW_TO_GET)
        return read_json(path), []
    check_file(folder / NPZ_FILE, folder)
    notes = [f"{NPZ_FILE} is read, {JSON_FILE} beside it is not"] if len(found) > 1 else []
    return read_npz_form(folder / NPZ_FILE), notes


def _add_takes(
    builder: SplitBuilder, samples: Samples, chosen: NDArray[np.intp], stride: int
) -> None:
    """Add the chosen samples, one sequence for each take, in the takes' order."""
    take_of_chosen = samples.take[chosen]
    takes = sorted(
        np.unique(take_of_chosen).tolist(), key=lambda number: _sort_key(samples.takes[number])
    )
    for number in takes:
        positions = chosen[take_of_chosen == number]
        builder.add(
            _sequence_info(samples.takes[number], stride),
            samples.points_mm[positions].astype(np.float64) / MM_PER_M,
            samples.pixels[positions],
            frames=samples.frame[positions],
        )


def _sort_key(take: Take) -> tuple[str, str, str]:
    return take.subject, take.action, take.view or ""


def _sequence_info(take: Take, stride: int) -> SequenceInfo:
    return SequenceInfo(
        subject=take.subject,
        action=take.action,
        base_action=base_action(take.action),
        view=take.view or "unknown",
        source=None,
        fps=FPS / stride,
        camera=CAMERAS[take.view] if take.view else None,
        image_size=None if take.view else ASSUMED_SIZE,
        ordered=False,
    )
