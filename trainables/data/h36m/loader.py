"""Human3.6M from VideoPose3D's npz pair, 17 joints, camera frame, root-relative metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.config import DataConfig
from trainables.data.assembly import SplitBuilder
from trainables.data.cameras import rotation_matrix, world_to_camera
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.data.h36m.cameras import CAMERA_IDS, CAMERA_POSES, CAMERAS
from trainables.data.h36m.files import H36MFiles, read_files
from trainables.data.recordings import RecordingRow
from trainables.data.splits import SequenceKey, assign_splits, base_action
from trainables.errors import DataError
from trainables.skeletons import H36M_17

__all__ = ["load_h36m"]

FPS = 50.0
"""Human3.6M's frame rate; the files do not record one."""
TEST_SUBJECTS = ("S9", "S11")
MAX_MISSING_2D_FRAMES = 2
MAX_EXTRA_2D_FRAMES = 10
MAX_EXTRA_2D_FRACTION = 0.05


def load_h36m(config: DataConfig, data_dir: Path | None) -> PoseDataset:
    """Load Human3.6M, or a set in its format.

    3D is taken to each camera's frame by the published calibration of that subject's cameras,
    2D is normalised by the image width, and frames are thinned by the configuration's stride.

    Args:
        config: Key points and stride.
        data_dir: Folder with `data_3d_h36m.npz` and `data_2d_h36m_<keypoints>.npz`.

    Returns:
        The data set; validation is made of held-out recordings or a held-out training subject.

    Raises:
        DataError: Files are missing or malformed, or 2D and 3D do not belong together.
        UnsafeDataError: A file asks for code to be run.
    """
    files = read_files(data_dir, config.keypoints)
    notes = list(files.notes)
    lengths = _common_lengths(files, notes)
    sources = {key: row.source for key, row in files.recordings.items() if row.source}
    assigned, note = assign_splits(
        lengths, sources, test_subjects=TEST_SUBJECTS, val_subject=config.val_subject
    )
    notes.append(note)
    sequences: list[SequenceInfo] = []
    splits: dict[str, PoseSplit] = {}
    for split in ("train", "val", "test"):
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


def _common_lengths(files: H36MFiles, notes: list[str]) -> dict[SequenceKey, int]:
    """Frames that each sequence has in 3D and in all views; notes what was left out."""
    lengths: dict[SequenceKey, int] = {}
    for subject, actions in files.positions_m.items():
        if subject not in CAMERA_POSES:
            notes.append(f"subject {subject} has no published cameras; left out")
            continue
        for action, points in actions.items():
            views = files.pixels.get(subject, {}).get(action)
            if views is None:
                notes.append(f"{subject} {action!r} has no 2D; left out")
                continue
            lengths[subject, action] = _common_length(
                len(points), [len(view) for view in views], f"{subject} {action!r}", files, notes
            )
    if not lengths:
        raise DataError(
            f"{files.path_3d} and {files.path_2d.name} share no sequence; found the subjects "
            f"{sorted(files.positions_m)} and {sorted(files.pixels)}, expected "
            f"{sorted(CAMERA_POSES)}"
        )
    return lengths


def _common_length(
    frames_3d: int, frames_2d: list[int], name: str, files: H36MFiles, notes: list[str]
) -> int:
    """Frames to use: as many as both have, if they differ as little as known copies do."""
    shortest, longest = min(frames_2d), max(frames_2d)
    allowed_extra = max(MAX_EXTRA_2D_FRAMES, int(MAX_EXTRA_2D_FRACTION * frames_3d))
    if frames_3d - shortest > MAX_MISSING_2D_FRAMES or longest - frames_3d > allowed_extra:
        raise DataError(
            f"{files.path_2d}: {name} has {frames_2d} frames in its views, {files.path_3d.name} "
            f"has {frames_3d}; expected the same number; make both files from the same copy of "
            "the data"
        )
    length = min(frames_3d, shortest)
    if shortest != longest or frames_3d != shortest:
        notes.append(f"{name}: 3D has {frames_3d} frames, 2D {frames_2d}; trimmed to {length}")
    return length
