"""Writes H3WB's files from the bundled motion, for the tests of its loader.

The 17 joints of the body move as recorded; face, feet and hands are rigid and fixed to head,
ankles and wrists: a plausible whole body, of nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.trainables.data.h36m_writer import ACTIONS, make_positions
from trainables.data.cameras import Float64Array, project, rotation_matrix, world_to_camera
from trainables.data.h36m.cameras import CAMERA_IDS, CAMERA_POSES, CAMERAS
from trainables.data.h36m.files import KEPT_JOINTS
from trainables.skeletons import H3WB_133

SUBJECTS = ("S1", "S5", "S6", "S7")
_MIRRORED = dict(zip(H3WB_133.left, H3WB_133.right, strict=True))
# COCO's shoulders to ankles, left and right in turn, among Human3.6M's 17
_LIMBS = (11, 14, 12, 15, 13, 16, 4, 1, 5, 2, 6, 3)
_SHOULDERS, _HIPS, _NECK, _HEAD = (11, 14), (4, 1), 9, 10
_HEAD_JOINTS = (*range(5), *range(23, 91))
_FEET = ((17, 18, 19), (20, 21, 22))
_FOOT_M = ((0.03, 0.17, -0.06), (-0.05, 0.15, -0.06), (0.0, -0.05, -0.06))


@dataclass(frozen=True)
class WholeBodies:
    """One action of one subject: what the four cameras see.

    Attributes:
        world_mm: (T, 133, 3), z up.
        camera_mm: By camera, (T, 133, 3).
        pixels: By camera, (T, 133, 2).
        frames: Frame numbers, (T,).
    """

    world_mm: Float64Array
    camera_mm: Mapping[str, Float64Array]
    pixels: Mapping[str, Float64Array]
    frames: np.ndarray


Actions = dict[tuple[str, str], WholeBodies]


def make_whole_bodies(subjects: tuple[str, ...] = SUBJECTS, *, step: int = 1) -> Actions:
    """Every subject performs every action, seen by four cameras; only some frames are there."""
    made: Actions = {}
    for subject, actions in make_positions(subjects).items():
        for action in ACTIONS:
            world_m = whole_body(actions[action][::step, KEPT_JOINTS].astype(np.float64))
            seen = {
                view: world_to_camera(
                    world_m,
                    rotation_matrix(np.asarray(pose.orientation)),
                    np.asarray(pose.position_m),
                )
                for view, pose in zip(CAMERA_IDS, CAMERA_POSES[subject], strict=True)
            }
            made[subject, action] = WholeBodies(
                world_mm=1000.0 * world_m,
                camera_mm={view: np.round(1000.0 * points, 3) for view, points in seen.items()},
                pixels={view: np.round(project(p, CAMERAS[view]), 3) for view, p in seen.items()},
                frames=1 + 5 * np.arange(len(world_m)),
            )
    return made


def whole_body(body_m: Float64Array) -> Float64Array:
    """Human3.6M's 17 joints to 133: (T, 17, 3) to (T, 133, 3), metres, z up."""
    whole = np.zeros((len(body_m), H3WB_133.num_joints, 3))
    whole[:, 5:17] = body_m[:, _LIMBS]
    between_shoulders = body_m[:, _SHOULDERS].mean(axis=1)
    left = body_m[:, _SHOULDERS[0]] - body_m[:, _SHOULDERS[1]]
    head = _frame(left, body_m[:, _HEAD] - between_shoulders)
    middle = body_m[:, [_NECK, _HEAD]].mean(axis=1)
    offsets = np.asarray([_face_offset_m(joint) for joint in _HEAD_JOINTS])
    whole[:, _HEAD_JOINTS] = middle[:, None] + np.einsum("oc,tcx->tox", offsets, head)
    left = body_m[:, _HIPS[0]] - body_m[:, _HIPS[1]]
    for side, (ankle, knee, toes) in enumerate(((15, 13, _FEET[0]), (16, 14, _FEET[1]))):
        foot = _frame(left, whole[:, knee] - whole[:, ankle])
        offsets = np.asarray(_FOOT_M) * (1 - 2 * side, 1, 1)
        placed = np.einsum("oc,tcx->tox", offsets, foot)
        whole[:, toes] = whole[:, ankle, None] + placed
    for side, (wrist, elbow, first) in enumerate(((9, 7, 91), (10, 8, 112))):
        hand = _frame(left, whole[:, wrist] - whole[:, elbow])
        offsets = np.asarray([_hand_offset_m(joint) for joint in range(21)]) * (1 - 2 * side, 1, 1)
        placed = np.einsum("oc,tcx->tox", offsets, hand)
        whole[:, first : first + 21] = whole[:, wrist, None] + placed
    return whole


def _frame(left: Float64Array, up: Float64Array) -> Float64Array:
    """Unit vectors left, forward, up at each moment, (T, 3, 3)."""
    up = up / np.linalg.norm(up, axis=1, keepdims=True)
    forward = np.cross(left, up)
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    return np.stack([np.cross(up, forward), forward, up], axis=1)


def _face_offset_m(joint: int) -> tuple[float, float, float]:
    """Left, forward, up of a joint of the head; right mirrors left, the others are central."""
    is_right = joint in _MIRRORED.values()
    like = next(left for left, right in _MIRRORED.items() if right == joint) if is_right else joint
    generator = np.random.default_rng(like)
    sideways = generator.uniform(0.01, 0.07) if like in _MIRRORED else 0.0
    forward, up = generator.uniform((0.06, -0.08), (0.1, 0.08))
    return (-sideways if is_right else sideways, float(forward), float(up))


def _hand_offset_m(joint: int) -> tuple[float, float, float]:
    """The hand's root, then four joints of each of five fingers, along the forearm."""
    if joint == 0:
        return (0.0, 0.0, 0.01)
    finger, bone = divmod(joint - 1, 4)
    return (0.01, 0.03 - 0.015 * finger, 0.04 + 0.025 * bone)


Sample = dict[str, Any]


def json_samples(actions: Actions, *, with_paths: bool = True) -> dict[str, Sample]:
    """The official JSON's content: all views of all frames, ids from 0."""
    samples: dict[str, Sample] = {}
    for (subject, action), bodies in actions.items():
        for row, frame in enumerate(bodies.frames):
            for view in CAMERA_IDS:
                sample: Sample = {
                    "keypoints_2d": _joints(bodies.pixels[view][row], "xy"),
                    "keypoints_3d": _joints(bodies.camera_mm[view][row], "xyz"),
                    "bbox": {"x_min": 1, "y_min": 2, "x_max": 3.5, "y_max": 4},
                }
                if with_paths:
                    folder = f"{subject}/Images/{action.title()} 1.{view}"
                    sample["image_path"] = f"{folder}/frame_{frame:04d}.jpg"
                samples[str(len(samples))] = sample
    return samples


def _joints(values: Float64Array, axes: str) -> dict[str, dict[str, float]]:
    return {str(n): dict(zip(axes, row, strict=True)) for n, row in enumerate(values.tolist())}


def write_json(folder: Path, samples: object) -> Path:
    """Write the official JSON into a new folder."""
    folder.mkdir(exist_ok=True)
    (folder / "2Dto3D_train.json").write_text(json.dumps(samples))
    return folder


def npz_actions(actions: Actions) -> dict[str, dict[str, dict[str, Any]]]:
    """The npz form's `train_data`, camera by camera as the publisher nests it."""
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for (subject, action), bodies in actions.items():
        root = bodies.world_mm[:, H3WB_133.origin].mean(axis=1, keepdims=True)
        content.setdefault(subject, {})[action] = {
            "global_3d": bodies.world_mm - root,
            "frame_id": bodies.frames,
            **{
                view: {
                    "pose_2d": bodies.pixels[view],
                    "camera_3d": bodies.camera_mm[view],
                    "pose_3d": bodies.camera_mm[view]
                    - bodies.camera_mm[view][:, H3WB_133.origin].mean(axis=1, keepdims=True),
                }
                for view in CAMERA_IDS
            },
        }
    return content


METADATA: Mapping[str, Any] = {
    "layout_name": "h3wb",
    "num_joints": 133,
    "keypoints_symmetry": [list(H3WB_133.left), list(H3WB_133.right)],
}


def write_npz(
    folder: Path, content: object, metadata: Mapping[str, Any] | None = METADATA
) -> Path:
    """Write the npz form into a new folder: pickled object arrays."""
    folder.mkdir(exist_ok=True)
    path, described = folder / "h3wb_train.npz", np.asarray(dict(metadata or {}), object)
    if metadata is None:
        np.savez(path, train_data=np.asarray(content, object))
    else:
        np.savez(path, train_data=np.asarray(content, object), metadata=described)
    return folder
