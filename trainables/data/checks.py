"""Measurements on a data set that tell plausible poses from broken ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import Float64Array, pixels_from_screen, project
from trainables.data.dataset import Camera, PoseDataset, PoseSplit, SequenceInfo
from trainables.data.findings import FrameRun, find_runs, sequence_name
from trainables.skeletons import Skeleton

__all__ = [
    "SAMPLED_POSES",
    "Reprojection",
    "SequenceFit",
    "bone_lengths_m",
    "by_sequence",
    "distances_px",
    "evenly",
    "knee_votes",
    "knees_bend_forward",
    "outside_image",
    "project_clipped",
    "reprojection",
    "subject_of_pose",
]

FLEXED_M = 0.03
"""A knee counts as bent if it lies so far off the line from hip to ankle (about 8 degrees)."""
EXCHANGE_SEEN_PX = 10.0
"""Nearer than this, left and right cover one another in the image."""
EXCHANGE_FIT = 0.5
MIN_DEPTH_M = 1e-3
MAX_DISTANCE_PX = 1e6
SAMPLED_POSES = 20_000
"""So many poses tell enough for a quick look."""


def evenly(count: int, limit: int = SAMPLED_POSES) -> NDArray[np.intp]:
    """At most `limit` indices, evenly spaced over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.intp))


def bone_lengths_m(y: NDArray[Any], skeleton: Skeleton) -> Float64Array:
    """Length of each segment in each pose, metres, (N, J - 1), order of `skeleton.segments`."""
    parents, children = np.asarray(skeleton.segments).T
    return np.asarray(np.linalg.norm(y[:, children].astype(np.float64) - y[:, parents], axis=-1))


def knee_votes(y: NDArray[Any], skeleton: Skeleton) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which knees are clearly bent, and which of them bend forward.

    Forward is up x right, with up from between the hips to between the shoulders and right from
    the left to the right hip, so exchanged labels, or a mirrored axis, turn it around.

    Args:
        y: Poses, metres, (N, J, 3).
        skeleton: Its `limb_pairs` say which joints are shoulders, hips, knees and ankles.

    Returns:
        Bent, and bent forward, both (2, N): left knees, right knees.
    """
    upper_arms, _, thighs, shins = skeleton.limb_pairs
    left_shoulder, right_shoulder, left_hip, right_hip = (
        y[:, start].astype(np.float64) for start, _ in (*upper_arms, *thighs)
    )
    up = left_shoulder + right_shoulder - left_hip - right_hip
    forward = np.cross(up, right_hip - left_hip)
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    bent, ahead = [], []
    for hip, (knee_joint, ankle_joint) in zip((left_hip, right_hip), shins, strict=True):
        knee, ankle = y[:, knee_joint].astype(np.float64), y[:, ankle_joint].astype(np.float64)
        leg = ankle - hip
        share = np.sum((knee - hip) * leg, axis=1) / np.maximum(np.sum(leg * leg, axis=1), 1e-9)
        off_line = knee - hip - share[:, None] * leg
        bent.append(np.linalg.norm(off_line, axis=1) > FLEXED_M)
        ahead.append(np.sum(off_line * forward, axis=1) > 0)
    flexed = np.stack(bent)
    return flexed, flexed & np.stack(ahead)


def knees_bend_forward(y: NDArray[Any], skeleton: Skeleton) -> float:
    """Share of clearly bent knees that bend forward; below one half, left and right are swapped.

    Args:
        y: Poses, metres, (N, J, 3).
        skeleton: Its `limb_pairs` say which joints are hips, knees and ankles.

    Returns:
        A share from 0 to 1; 1 if no knee is bent.
    """
    bent, forward = knee_votes(y, skeleton)
    return float(forward.sum() / bent.sum()) if bent.any() else 1.0


def by_sequence(
    dataset: PoseDataset, split: PoseSplit, limit: int | None
) -> Iterator[tuple[SequenceInfo, NDArray[np.intp]]]:
    """Each sequence with the indices of its poses, of all or of `limit` evenly spaced ones."""
    chosen = evenly(len(split), len(split) if limit is None else limit)
    numbers = split.sequence[chosen]
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    for poses in np.split(chosen[order], ends):
        yield dataset.sequences[int(split.sequence[poses[0]])], poses


@dataclass(frozen=True)
class SequenceFit:
    """How far the 2D of a sequence is from its projected 3D.

    Attributes:
        name: Subject, action and view.
        view: Name of its camera.
        median_px: Over poses and joints, pixels.
        exchanged: Runs of poses whose left and right are exchanged.
        behind: Runs of poses that reach behind the camera.
    """

    name: str
    view: str
    median_px: float
    exchanged: tuple[FrameRun, ...]
    behind: tuple[FrameRun, ...]


@dataclass(frozen=True)
class Reprojection:
    """How far the 2D is from the projected 3D; empty where cameras or places are unknown.

    Attributes:
        distance_px: Distance by pose and joint, pixels, (P, J).
        exchanged: Whether the 2D fits far better with the arms' or the legs' left and right
            exchanged, (P,).
        behind: Whether a joint lies behind the camera, or in its plane, (P,).
        sequences: The same by sequence.
    """

    distance_px: NDArray[np.float32]
    exchanged: NDArray[np.bool_]
    behind: NDArray[np.bool_]
    sequences: tuple[SequenceFit, ...]


def reprojection(
    dataset: PoseDataset, split: PoseSplit, limit: int | None = SAMPLED_POSES
) -> Reprojection:
    """Compare the 2D of a split with its projected 3D.

    Args:
        dataset: The data set.
        split: One of its splits.
        limit: At most so many poses, evenly spaced; None for all.
    """
    joints = dataset.skeleton.num_joints
    distances = [np.zeros((0, joints), np.float32)]
    exchanged, behind = [np.zeros(0, np.bool_)], [np.zeros(0, np.bool_)]
    fits = []
    for info, poses in by_sequence(dataset, split, limit):
        if split.root is None or info.camera is None:
            continue
        points_m = split.y[poses].astype(np.float64) + split.root[poses][:, None]
        behind.append(np.asarray((points_m[..., 2] <= 0).any(axis=1)))
        projected = project_clipped(points_m, info.camera)
        pixels = pixels_from_screen(split.x[poses], info.camera.size)
        distance = distances_px(projected, pixels)
        distances.append(distance.astype(np.float32))
        exchanged.append(_exchanged(projected, pixels, dataset.skeleton))
        name, frames = sequence_name(info), split.frame[poses]
        runs = [find_runs(name, bad[-1], poses, frames) for bad in (exchanged, behind)]
        fits.append(
            SequenceFit(
                name, info.view, float(np.median(distance)), tuple(runs[0]), tuple(runs[1])
            )
        )
    return Reprojection(
        distance_px=np.concatenate(distances),
        exchanged=np.concatenate(exchanged),
        behind=np.concatenate(behind),
        sequences=tuple(fits),
    )


def project_clipped(points_m: Float64Array, camera: Camera) -> Float64Array:
    """Project, with what lies behind the camera brought before it, pixels, (..., 2)."""
    depth_m = np.maximum(points_m[..., 2:], MIN_DEPTH_M)
    return project(np.concatenate([points_m[..., :2], depth_m], axis=-1), camera)


def distances_px(projected: Float64Array, pixels: Float64Array) -> Float64Array:
    """Distances in the image; what lies in the camera's plane projects beyond all numbers."""
    return np.asarray(np.minimum(np.linalg.norm(projected - pixels, axis=-1), MAX_DISTANCE_PX))


def _exchanged(projected: Float64Array, pixels: Float64Array, skeleton: Skeleton) -> Any:
    """Poses whose arms or legs fit at most half as badly with left and right exchanged."""
    upper_arms, forearms, thighs, shins = skeleton.limb_pairs
    found = np.zeros(len(pixels), np.bool_)
    for pairs in ((upper_arms, forearms), (thighs, shins)):
        left = sorted({joint for pair in pairs for joint in pair[0]})
        mates = dict(zip(skeleton.left, skeleton.right, strict=True))
        order = [*left, *(mates[joint] for joint in left)]
        swapped = [*(mates[joint] for joint in left), *left]
        straight = np.linalg.norm(projected[:, order] - pixels[:, order], axis=-1).mean(axis=1)
        crossed = np.linalg.norm(projected[:, order] - pixels[:, swapped], axis=-1).mean(axis=1)
        found |= (straight > EXCHANGE_SEEN_PX) & (crossed < EXCHANGE_FIT * straight)
    return found


def outside_image(
    dataset: PoseDataset, split: PoseSplit, limit: int | None = SAMPLED_POSES
) -> float:
    """Share of 2D key points outside their image, of those whose image's size is known.

    Args:
        dataset: The data set.
        split: One of its splits.
        limit: At most so many poses, evenly spaced; None for all.
    """
    outside, total = 0, 0
    for info, poses in by_sequence(dataset, split, limit):
        if info.size is None:
            continue
        width, height = info.size
        beyond = (np.abs(split.x[poses]) > np.asarray([1.0, height / width])).any(axis=-1)
        outside, total = outside + int(beyond.sum()), total + beyond.size
    return outside / total if total else 0.0


def subject_of_pose(dataset: PoseDataset, split: PoseSplit) -> NDArray[np.str_]:
    """Name of the subject of each pose, (N,)."""
    return np.asarray([info.subject for info in dataset.sequences])[split.sequence]
