"""Measurements on a data set that tell plausible poses from broken ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import Float64Array, pixels_from_screen, project
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.skeletons import Skeleton

__all__ = [
    "bone_lengths_m",
    "knees_bend_forward",
    "outside_image",
    "reprojection_px",
    "subject_of_pose",
]

Key = TypeVar("Key", bound=Hashable)

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

    Forward is up x right, with up from between the hips to between the shoulders and right from
    the left to the right hip, so exchanged labels, or a mirrored axis, turn it around.

    Args:
        y: Poses, metres, (N, J, 3).
        skeleton: Its `limb_pairs` say which joints are shoulders, hips, knees and ankles.

    Returns:
        A share from 0 to 1; 1 if no knee is bent.
    """
    upper_arms, _, thighs, shins = skeleton.limb_pairs
    left_shoulder, right_shoulder, left_hip, right_hip = (
        y[:, start].astype(np.float64) for start, _ in (*upper_arms, *thighs)
    )
    up = left_shoulder + right_shoulder - left_hip - right_hip
    forward = np.cross(up, right_hip - left_hip)
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    ahead = []
    for hip, (knee_joint, ankle_joint) in zip((left_hip, right_hip), shins, strict=True):
        knee, ankle = y[:, knee_joint].astype(np.float64), y[:, ankle_joint].astype(np.float64)
        leg = ankle - hip
        share = np.sum((knee - hip) * leg, axis=1) / np.maximum(np.sum(leg * leg, axis=1), 1e-9)
        off_line = knee - hip - share[:, None] * leg
        bent = np.linalg.norm(off_line, axis=1) > FLEXED_M
        ahead.append(np.sum(off_line * forward, axis=1)[bent] > 0)
    votes = np.concatenate(ahead)
    return float(votes.mean()) if len(votes) else 1.0


def _grouped(
    dataset: PoseDataset, split: PoseSplit, key: Callable[[SequenceInfo], Key | None]
) -> list[tuple[Key, NDArray[np.intp]]]:
    """An even sample of the poses, grouped by what is known of their sequences."""
    chosen = evenly(len(split))
    groups: dict[Key, list[NDArray[np.intp]]] = {}
    for number in np.unique(split.sequence[chosen]):
        value = key(dataset.sequences[number])
        if value is not None:
            groups.setdefault(value, []).append(chosen[split.sequence[chosen] == number])
    return [(value, np.concatenate(parts)) for value, parts in groups.items()]


def reprojection_px(dataset: PoseDataset, split: PoseSplit) -> Float64Array:
    """Distance of the 2D from the projected 3D, pixels, (poses sampled, J); empty if unknown."""
    if split.root is None:
        return np.zeros((0, dataset.skeleton.num_joints))
    distances = [np.zeros((0, dataset.skeleton.num_joints))]
    for camera, poses in _grouped(dataset, split, lambda info: info.camera):
        points_m = split.y[poses].astype(np.float64) + split.root[poses][:, None]
        difference = project(points_m, camera) - pixels_from_screen(split.x[poses], camera.size)
        distances.append(np.linalg.norm(difference, axis=-1))
    return np.concatenate(distances)


def outside_image(dataset: PoseDataset, split: PoseSplit) -> float:
    """Share of 2D key points outside their image, of those whose image's size is known."""
    outside, total = 0, 0
    for (width, height), poses in _grouped(dataset, split, lambda info: info.size):
        limit = np.asarray([1.0, height / width])
        beyond = (np.abs(split.x[poses]) > limit).any(axis=-1)
        outside, total = outside + int(beyond.sum()), total + beyond.size
    return outside / total if total else 0.0


def subject_of_pose(dataset: PoseDataset, split: PoseSplit) -> NDArray[np.str_]:
    """Name of the subject of each pose, (N,)."""
    return np.asarray([info.subject for info in dataset.sequences])[split.sequence]
