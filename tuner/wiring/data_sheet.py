"""Chooses from a data set what its skeleton sheet shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import pixels_from_screen
from trainables.data.checks import evenly
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.plausibility import bone_lengths_of_subjects
from trainables.skeletons import Skeleton
from tuner.reports.skeleton_sheet import SheetData, SheetPose

__all__ = ["sheet_of"]

CANDIDATES = 400
SCREEN_PIXELS = 1000
"""Width that normalised coordinates are drawn with where the image's size is unknown."""
BODY_JOINTS = 23
"""Of a whole body the joints of body and feet, which come first, are labelled."""
LABELLED_BELOW = 40


def sheet_of(dataset: PoseDataset) -> SheetData:
    """The sheet of a data set: one pose of each split, and bone lengths of all subjects."""
    skeleton = dataset.skeleton
    count = skeleton.num_joints
    labelled = tuple(range(count if count < LABELLED_BELOW else BODY_JOINTS))
    lengths_m = bone_lengths_of_subjects(dataset).values()
    medians_mm = [1000.0 * np.median(lengths, axis=0) for lengths in lengths_m]
    return SheetData(
        title=f"{dataset.name}: {skeleton.name}, {count} joints",
        joints=skeleton.joints,
        parents=skeleton.parents,
        left=skeleton.left,
        right=skeleton.right,
        labelled=labelled,
        figure_m=_clearest_front_view(dataset, labelled),
        poses=tuple(_pose(dataset, name, split) for name, split in dataset.splits.items()),
        bone_lengths_mm={
            child: [float(medians[bone]) for medians in medians_mm]
            for bone, (_, child) in enumerate(skeleton.segments)
        },
    )


def _pose(dataset: PoseDataset, name: str, split: PoseSplit) -> SheetPose:
    """Of many poses of a split the one that fills most of its image, to be seen well."""
    candidates = evenly(len(split), CANDIDATES)
    index = int(candidates[np.ptp(split.x[candidates], axis=1).prod(axis=1).argmax()])
    info = dataset.sequences[int(split.sequence[index])]
    size = info.size or (SCREEN_PIXELS, SCREEN_PIXELS)
    return SheetPose(
        title=f"{name}: {info.subject} {info.action}\ncamera {info.view}, frame "
        f"{split.frame[index]}",
        pixels=pixels_from_screen(split.x[index], size),
        size=info.size,
        points_m=split.y[index].astype(np.float64),
    )


def _clearest_front_view(dataset: PoseDataset, labelled: tuple[int, ...]) -> NDArray[Any]:
    """Of many poses the one whose joints, seen from the front, keep farthest apart, (J, 2)."""
    best, best_score = None, -1.0
    for split in dataset.splits.values():
        for index in evenly(len(split), CANDIDATES):
            front = front_view(split.y[index].astype(np.float64), dataset.skeleton)
            joints = front[list(labelled)]
            apart = np.linalg.norm(joints[:, None] - joints[None], axis=-1)
            nearest = np.sort(apart[np.triu_indices(len(joints), 1)])[: len(joints) // 2]
            score = float(nearest.mean()) * _stands(front, dataset.skeleton)
            if score > best_score:
                best, best_score = front, score
    if best is None:
        raise ValueError("a data set without poses has no sheet")
    return best


def _stands(front: NDArray[Any], skeleton: Skeleton) -> float:
    """How far below its hip the higher ankle is, at least 0."""
    _, _, thighs, shins = skeleton.limb_pairs
    drops = [
        float(front[hip, 1] - front[ankle, 1])
        for (hip, _), (_, ankle) in zip(thighs, shins, strict=True)
    ]
    return max(min(drops), 0.0)


def front_view(y: NDArray[Any], skeleton: Skeleton) -> NDArray[Any]:
    """A pose seen from its front: the body's left to the right, its trunk upright, (J, 2).

    Args:
        y: One pose, metres, (J, 3).
        skeleton: Its limbs say where hips and shoulders are.
    """
    upper_arms, _, thighs, _ = skeleton.limb_pairs
    left_shoulder, right_shoulder, left_hip, right_hip = (
        y[start] for start, _ in (*upper_arms, *thighs)
    )
    up = left_shoulder + right_shoulder - left_hip - right_hip
    up = up / max(float(np.linalg.norm(up)), 1e-9)
    leftward = left_hip - right_hip + left_shoulder - right_shoulder
    leftward = leftward - (leftward @ up) * up
    leftward = leftward / max(float(np.linalg.norm(leftward)), 1e-9)
    return np.stack([y @ leftward, y @ up], axis=1)
