"""Writes VideoPose3D's file pair from the bundled motion, for the tests of its loader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.cameras import project, rotation_matrix, world_to_camera
from trainables.data.h36m.cameras import CAMERA_POSES, CAMERAS
from trainables.data.h36m.files import KEPT_JOINTS
from trainables.data.sample.bodies import draw_body, joint_positions
from trainables.data.sample.clips import read_clips, resample

ACTIONS = ("walk", "jump", "punch")
SUBJECTS = ("S1", "S5", "S8", "S9", "S11")
Positions = dict[str, dict[str, np.ndarray]]
Views = dict[str, dict[str, list[np.ndarray]]]


def make_positions(subjects: tuple[str, ...] = SUBJECTS) -> Positions:
    """World joints (T, 32, 3), z up, metres: one body per subject; unused joints stay 0."""
    clips, offsets = read_clips()
    positions: Positions = {}
    for number, subject in enumerate(subjects):
        body = draw_body(subject, np.random.default_rng(number))
        positions[subject] = {}
        for action in ACTIONS:
            joints = joint_positions(resample(clips[action], 10.0), body, offsets)
            world = np.zeros((len(joints), 32, 3), np.float32)
            world[:, KEPT_JOINTS] = np.stack(
                [joints[..., 0], -joints[..., 2], joints[..., 1]], axis=-1
            )
            positions[subject][action] = world
    return positions


def make_views(positions: Positions) -> Views:
    """Exact projections by the published cameras, float32 pixels."""
    views: Views = {}
    for subject, actions in positions.items():
        views[subject] = {}
        for action, world in actions.items():
            views[subject][action] = [
                project(
                    world_to_camera(
                        world[:, KEPT_JOINTS].astype(np.float64),
                        rotation_matrix(np.asarray(pose.orientation)),
                        np.asarray(pose.position_m),
                    ),
                    camera,
                ).astype(np.float32)
                for pose, camera in zip(CAMERA_POSES[subject], CAMERAS.values(), strict=True)
            ]
    return views


METADATA: Mapping[str, Any] = {
    "layout_name": "h36m",
    "num_joints": 17,
    "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
}


def write_folder(
    folder: Path,
    positions: Positions,
    views: Views,
    metadata: Mapping[str, Any] | None = METADATA,
    keypoints: str = "gt",
) -> Path:
    """Write the pair as VideoPose3D does: pickled object arrays."""
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.asarray(positions, object))
    path_2d = folder / f"data_2d_h36m_{keypoints}.npz"
    pixels = np.asarray(views, object)
    if metadata is None:
        np.savez_compressed(path_2d, positions_2d=pixels)
    else:
        described = np.asarray(dict(metadata), object)
        np.savez_compressed(path_2d, positions_2d=pixels, metadata=described)
    return folder


def copied(positions: Positions) -> Positions:
    return {subject: dict(actions) for subject, actions in positions.items()}


def write_table(folder: Path, without: tuple[str, ...] = ()) -> None:
    """Training and test subjects perform recordings of their own, at 60 frames per second."""
    parts = {subject: "test" if subject in ("S9", "S11") else "train" for subject in SUBJECTS}
    keys = (f"{subject},{action}" for subject in SUBJECTS for action in ACTIONS)
    rows = [f"{k},{parts[k.split(',')[0]]}/any/{k.split(',')[1]},60" for k in keys]
    kept = [row for row in rows if not row.startswith(without)] if without else rows
    (folder / "sequences.csv").write_text("\n".join(["subject,action,source,fps", *kept]) + "\n")


def one_training_subject(positions: Positions) -> None:
    del positions["S1"], positions["S5"]
