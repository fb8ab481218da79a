"""Human3.6M from VideoPose3D's npz pair, 17 joints, camera frame, root-relative metres."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainables.config import DataConfig
from trainables.data.arrays import MAX_LENGTH_DIFFERENCE, common_length
from trainables.data.assembly import SplitBuilder
from trainables.data.cameras import rotation_matrix, world_to_camera
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.data.h36m.cameras import CAMERA_IDS, CAMERA_POSES, CAMERAS
from trainables.data.h36m.files import H36MFiles, read_files
from trainables.data.recordings import RecordingRow
from trainables.data.splits import SequenceKey, assign_splits, base_action, splits_in_use
from trainables.errors import DataError
from trainables.names import first_few, natural_key
from trainables.skeletons import H36M_17

__all__ = ["load_h36m"]

FPS = 50.0
"""Human3.6M's frame rate; the files do not record one."""
TEST_SUBJECTS = ("S9", "S11")
GROUND_TRUTH = "gt"
MAX_EXTRA_DETECTIONS = 10
MAX_EXTRA_DETECTIONS_FRACTION = 0.05
"""Detections come from the videos, which run on after the last frame of the 3D."""


def load_h36m(config: DataConfig, data_dir: Path | None) -> PoseDataset:
    """Load Human3.6M, or a set in its format.

    3D is taken to each camera's frame by the published calibration of that subject's cameras,
    2D is normalised by the image width, and frames are thinned by the configuration's stride.

    Args:
        config: Key points and stride.
        data_dir: Folder with `data_3d_h36m.npz` and `data_2d_h36m_<keypoints>.npz`.

    Returns:
        The data set; validation is made of held-out recordings or a held-out training subject,
        unless nobody validates.

    Raises:
        DataError: Files are missing or malformed, or 2D and 3D do not belong together.
        UnsafeDataError: A file asks for code to be run.
    """
    files = read_files(data_dir, config.keypoints)
    notes = list(files.notes)
    lengths = _common_lengths(files, config.keypoints, notes)
    sources = {key: row.source for key, row in files.recordings.items() if row.source}
    assigned, note = assign_splits(
        lengths, sources, test_subjects=TEST_SUBJECTS, val_subject=config.val_subject
    )
    notes.append(note)
    sequences: list[SequenceInfo] = []
    splits: dict[str, PoseSplit] = {}
    for split in splits_in_use(assigned.values()):
        builder = SplitBuilder(
            first_sequence=len(sequences), stride=config.stride, skeleton=H36M_17
        )
        for key in (key for key, name in assigned.items() if name == split):
            _add_views(builder, files, key, lengths[key], config.stride)
        sequences.extend(builder.sequences)
        splits[split] = builder.build()
    return PoseDataset("h36m", H36M_17, tuple(sequences), splits, tuple(notes))


def _add_views(
    builder: SplitBuilder, files: H36MFiles, key: SequenceKey, length: int, stride: int
) -> None:
    """Add one sequence as each of the four cameras sees it."""
    subject, action = key
    row = files.recordings.get(key, RecordingRow(None, None))
    points_m = files.positions_m[subject][action][:length].astype(np.float64)
    for index, (view, pose) in enumerate(zip(CAMERA_IDS, CAMERA_POSES[subject], strict=True)):
        info = SequenceInfo(
            subject=subject,
            action=action,
            base_action=base_action(action),
            view=view,
            source=row.source,
            fps=(row.fps or FPS) / stride,
            camera=CAMERAS[view],
        )
        rotation = rotation_matrix(np.asarray(pose.orientation))
        seen_m = world_to_camera(points_m, rotation, np.asarray(pose.position_m))
        builder.add(info, seen_m, files.pixels[subject][action][index][:length])


def _common_lengths(files: H36MFiles, keypoints: str, notes: list[str]) -> dict[SequenceKey, int]:
    """Frames that each sequence has in 3D and in all views; notes what was left out."""
    known = {subject: files.positions_m.get(subject, {}) for subject in CAMERA_POSES}
    _require_2d(files, known)
    strangers = sorted(set(files.positions_m) - set(known), key=natural_key)
    notes.extend(f"subject {name} has no published cameras; left out" for name in strangers)
    lengths = {
        (subject, action): _common_length(len(points), (subject, action), files, keypoints, notes)
        for subject, actions in known.items()
        for action, points in actions.items()
    }
    if not lengths:
        raise DataError(
            f"{files.path_3d} and {files.path_2d.name} share no sequence; found the subjects "
            f"{sorted(files.positions_m)} and {sorted(files.pixels)}, expected "
            f"{sorted(CAMERA_POSES)}"
        )
    _note_what_is_absent(files, known, notes)
    return lengths


def _require_2d(files: H36MFiles, known: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse 3D without 2D: whoever trains on less, or is tested on less, should know it."""
    missing = [
        f"{subject} {action!r}"
        for subject, actions in known.items()
        for action in actions
        if action not in files.pixels.get(subject, {})
    ]
    if missing:
        raise DataError(
            f"{files.path_2d} has no 2D of {first_few(missing)}, but {files.path_3d.name} has "
            "their 3D; expected 2D of every sequence; make both files from one copy of the data"
        )


def _note_what_is_absent(
    files: H36MFiles, known: Mapping[str, Mapping[str, object]], notes: list[str]
) -> None:
    """Note 2D without 3D, and published subjects that are not there."""
    unused = [
        f"{subject} {action!r}"
        for subject in known
        for action in files.pixels.get(subject, {})
        if action not in known[subject]
    ]
    if unused:
        notes.append(f"there are 2D without 3D, which are left out: {first_few(unused)}")
    absent = [subject for subject, actions in known.items() if not actions]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        notes.append(
            f"{', '.join(absent)} {verb} not in the files; figures cannot be compared with "
            "published ones"
        )


def _common_length(
    frames_3d: int, key: SequenceKey, files: H36MFiles, keypoints: str, notes: list[str]
) -> int:
    """Frames to use; only detections may be longer than the 3D by more than copies differ."""
    subject, action = key
    extra = max(MAX_EXTRA_DETECTIONS, int(MAX_EXTRA_DETECTIONS_FRACTION * frames_3d))
    return common_length(
        frames_3d,
        [len(view) for view in files.pixels[subject][action]],
        f"{subject} {action!r}",
        notes,
        max_extra_2d=MAX_LENGTH_DIFFERENCE if keypoints == GROUND_TRUTH else extra,
        files=f"{files.path_2d} and {files.path_3d.name}",
    )
