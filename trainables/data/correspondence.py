"""Whether the 2D of each camera are those of the 3D, before anything is trained on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trainables.data.checks import evenly, reprojection
from trainables.data.dataset import PoseDataset, PoseSplit

__all__ = ["foreign_2d"]

POSES_PER_VIEW = 2_000
MAX_MEDIAN_OF_WIDTH = 0.04
"""40 px of 1000. Detectors are 5 to 10 px off in the median, bodies rescaled to another size
(MPI-INF-3DHP's `univ_annot3`) less than that; frames in reverse order 45 px and more, another
camera hundreds."""


def foreign_2d(dataset: PoseDataset, split: PoseSplit) -> list[str]:
    """The worst of the cameras whose 2D are not those of the projected 3D, as a sentence.

    Each subject's cameras are judged apart, by scored poses evenly taken; cameras that are not
    calibrated, and poses whose place is unknown, are not.

    Args:
        dataset: The data set.
        split: One of its splits.
    """
    views: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number in np.unique(split.sequence).tolist():
        info = dataset.sequences[number]
        if info.camera is not None and split.root is not None:
            views[info.subject, info.view].append(number)
    if not views:
        return []
    limit = POSES_PER_VIEW * len({view for _, view in views})
    scored = np.arange(len(split)) if split.valid is None else np.flatnonzero(split.valid)
    chosen = scored[evenly(len(scored), limit)]
    off = []
    for key, numbers in views.items():
        poses = chosen[np.isin(split.sequence[chosen], numbers)]
        size = dataset.sequences[numbers[0]].size
        if len(poses) and size is not None:
            median_px = _median_px(dataset, split, poses)
            off.append((median_px / size[0], median_px, key, MAX_MEDIAN_OF_WIDTH * size[0]))
    return _sentence(off)


def _median_px(dataset: PoseDataset, split: PoseSplit, poses: NDArray[np.intp]) -> float:
    """Median distance of the 2D from the projected 3D, over poses and joints."""
    part = replace(
        split,
        x=split.x[poses],
        y=split.y[poses],
        root=None if split.root is None else split.root[poses],
        sequence=split.sequence[poses],
        frame=split.frame[poses],
        valid=None,
    )
    return float(np.median(reprojection(dataset, part, None).distance_px))


def _sentence(off: Iterable[tuple[float, float, tuple[str, str], float]]) -> list[str]:
    """Of share of the width, distance, camera and limit of each: the worst, if it is too bad."""
    share, median_px, (subject, view), limit_px = max(off, default=(0.0, 0.0, ("", ""), 0.0))
    if share <= MAX_MEDIAN_OF_WIDTH:
        return []
    return [
        f"the 2D lies {median_px:.0f} px off the projected 3D in the median of {subject}, camera "
        f"{view!r}, expected at most {limit_px:.0f} px; 2D and 3D are of different copies, or the "
        "cameras are others, or cameras, joints, frames or axes are in another order; make 2D, 3D "
        "and calibration from one copy of the data"
    ]
