"""Measurements on a data set that tell plausible poses from broken ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import Float64Array, pixels_from_screen, project
from trainables.data.dataset import Camera, PoseDataset, PoseSplit
from trainables.skeletons import Skeleton

__all__ = [
    "bone_lengths_m",
    "knees_bend_forward",
    "outside_image",
    "reprojection_px",
    "subject_of_pose",
]

FLEXED_M = 0.03
_SAMPLED_POSES = 20_000


def evenly(count: int, limit: int = _SAMPLED_POSES) -> NDArray[np.intp]:
    """At most `limit` indices, evenly spaced over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.intp))


def bone_lengths_m(y: NDArray[Any], skeleton: Skeleton) -> Float64Array:
    """Length of each segment in each pose, metres, (N, J - 1), order of `skeleton.segments`."""
    parents, children = np.asarray(skeleton.segments).T
    return np.asarray(np.linalg.norm(y[:, children].astype(np.float64) - y[:, parents], axis=-1))


def knees_bend_forward(y: NDArray[Any], skeleton: Skeleton) -> float:
    """Share of clearly bent knees that bend forward; below one half, left and right are swapped.

    Forward is up x right, with up from hip to thorax and right from the left to the right hip,
    so exchanged labels, or a mirrored axis, turn it around.

    Args:
        y: Poses, metres, (N, J, 3).
        skeleton: One with hips, knees, ankles and thorax.

    Returns:
        A share from 0 to 1; 1 if no knee is bent.
    """
    at = {name: y[:, index].astype(np.float64) for index, name in enumerate(skeleton.joints)}
    forward = np.cross(at["thorax"] - at["hip"], at["r_hip"] - at["l_hip"])
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    ahead = []
    for side in ("l", "r"):
        hip, knee, ankle = (at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        leg = ankle - hip
        share = np.sum((knee - hip) * leg, axis=1) / np.maximum(np.sum(leg * leg, axis=1), 1e-9)
        off_line = knee - hip - share[:, None] * leg
        bent = np.linalg.norm(off_line, axis=1) > FLEXED_M
        ahead.append(np.sum(off_line * forward, axis=1)[bent] > 0)
    votes = np.concatenate(ahead)
    return float(votes.mean()) if len(votes) else 1.0


def _by_camera(dataset: PoseDataset, split: PoseSplit) -> list[tuple[Camera, NDArray[np.intp]]]:
    """An even sample of the poses, grouped by their (known) cameras."""
    chosen = evenly(len(split))
    groups: dict[Camera, list[NDArray[np.intp]]] = {}
    for number in np.unique(split.sequence[chosen]):
        camera = dataset.sequences[number].camera
        if camera is not None:
            groups.setdefault(camera, []).append(chosen[split.sequence[chosen] == number])
    return [(camera, np.concatenate(parts)) for camera, parts in groups.items()]


def reprojection_px(dataset: PoseDataset, split: PoseSplit) -> Float64Array:
    """Distance of the 2D from the projected 3D, pixels, (poses sampled, J); empty if unknown."""
    if split.root is None:
        return np.zeros((0, dataset.skeleton.num_joints))
    distances = [np.zeros((0, dataset.skeleton.num_joints))]
    for camera, poses in _by_camera(dataset, split):
        points_m = split.y[poses].astype(np.float64) + split.root[poses][:, None]
        difference = project(points_m, camera) - pixels_from_screen(split.x[poses], camera)
        distances.append(np.linalg.norm(difference, axis=-1))
    return np.concatenate(distances)


def outside_image(dataset: PoseDataset, split: PoseSplit) -> float:
    """Share of 2D key points outside their image, of those whose camera is known."""
    outside, total = 0, 0
    for camera, poses in _by_camera(dataset, split):
        limit = np.asarray([1.0, camera.height / camera.width])
        beyond = (np.abs(split.x[poses]) > limit).any(axis=-1)
        outside, total = outside + int(beyond.sum()), total + beyond.size
    return outside / total if total else 0.0


def subject_of_pose(dataset: PoseDataset, split: PoseSplit) -> NDArray[np.str_]:
    """Name of the subject of each pose, (N,)."""
    return np.asarray([info.subject for info in dataset.sequences])[split.sequence]
