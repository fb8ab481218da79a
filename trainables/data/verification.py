"""What a decoded data set must fulfil before anything is trained on it."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from trainables.data.checks import bone_lengths_m, evenly, knees_bend_forward
from trainables.data.correspondence import foreign_2d
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.splits import SPLIT_NAMES
from trainables.errors import DataError
from trainables.names import first_few
from trainables.skeletons import Skeleton

__all__ = ["faults", "shared_between_splits", "verify_dataset"]

THIGH_RANGE_M = (0.2, 0.8)
SPAN_RANGE = (0.02, 20.0)
"""Size of a pose in its image, which is 2 wide: from 10 of 1000 pixels to ten times the image."""
MIN_KNEES_FORWARD = 0.5
ORIGIN_TOLERANCE_M = 2e-6
"""A mean of rounded joints; a root joint itself is at 0 exactly."""


def verify_dataset(dataset: PoseDataset, *, validates: bool = True) -> None:
    """Refuse a data set that cannot be right.

    Args:
        dataset: The data set.
        validates: Whether it must have a validation split.

    Raises:
        DataError: Shapes, types, finiteness, units or left/right are wrong, or two splits share
            a recording; lists all faults.
    """
    found = faults(dataset, validates=validates)
    if found:
        lines = "\n".join(f"  - {fault}" for fault in found)
        raise DataError(f"data set {dataset.name!r} cannot be used:\n{lines}")


def faults(dataset: PoseDataset, *, validates: bool = True) -> list[str]:
    """All faults that forbid training, each with what was found and expected.

    Args:
        dataset: The data set.
        validates: Whether it must have a validation split.
    """
    needed = [name for name in SPLIT_NAMES if validates or name != "val"]
    missing = [name for name in needed if name not in dataset.splits]
    found = [f"split {name!r} is missing" for name in missing]
    unreadable = False
    for name, split in dataset.splits.items():
        broken = _array_faults(split, dataset)
        found.extend(
            f"{name}: {fault}"
            for fault in broken
            or (*_pose_faults(split, dataset.skeleton), *foreign_2d(dataset, split))
        )
        unreadable = unreadable or bool(broken)
    if not unreadable:
        found.extend(
            f"{shared}; a recording may be in one split only"
            for shared in shared_between_splits(dataset, "source")
        )
    return found


def _array_faults(split: PoseSplit, dataset: PoseDataset) -> list[str]:
    count, joints = len(split), dataset.skeleton.num_joints
    if count == 0:
        return ["no poses"]
    found = []
    expected = {
        "x": (split.x, (count, joints, 2), "float32"),
        "y": (split.y, (count, joints, 3), "float32"),
        "root": (split.root, (count, 3), "float32"),
        "sequence": (split.sequence, (count,), "int32"),
        "frame": (split.frame, (count,), "int32"),
        "valid": (split.valid, (count,), "bool"),
    }
    for name, (array, shape, kind) in expected.items():
        if array is None:
            continue
        if array.shape != shape or array.dtype != kind:
            found.append(f"{name} is {array.dtype} {array.shape}, expected {kind} {shape}")
        elif not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array).reshape(count, -1).all(axis=1))
            found.append(f"{name} holds NaN or infinity in {len(bad)} poses, first in {bad[0]}")
    if not found and not 0 <= split.sequence.min() <= split.sequence.max() < len(
        dataset.sequences
    ):
        found.append(f"sequence numbers exceed the {len(dataset.sequences)} sequences there are")
    return found


def _pose_faults(split: PoseSplit, skeleton: Skeleton) -> list[str]:
    found = []
    chosen = evenly(len(split))
    sample = split.y[chosen]
    span = float(np.median(np.ptp(split.x[chosen], axis=1).max(axis=1)))
    low, high = SPAN_RANGE
    if not low <= span <= high:
        found.append(
            f"the 2D of the median pose spans {span / 2:.4g} times the image's width, expected "
            "pixels of that image; are the 2D normalised already, or of images of another size?"
        )
    origin = split.y[:, skeleton.origin or (skeleton.root,)].mean(axis=1)
    if np.abs(origin).max() > ORIGIN_TOLERANCE_M:
        found.append("y is not root-relative: the root is not at 0")
    thigh = skeleton.limb_pairs[2][0]
    thigh_m = float(np.median(bone_lengths_m(sample, skeleton)[:, skeleton.segments.index(thigh)]))
    low, high = THIGH_RANGE_M
    if not low <= thigh_m <= high:
        found.append(
            f"the thigh measures {thigh_m:.4g}, expected {low} to {high} metres; are the data in "
            "millimetres, or is the joint order another?"
        )
    forward = knees_bend_forward(sample, skeleton)
    if forward < MIN_KNEES_FORWARD:
        found.append(
            f"{1 - forward:.0%} of the bent knees bend backward; left and right are exchanged, or "
            "an axis is mirrored"
        )
    return found


def shared_between_splits(dataset: PoseDataset, attribute: str) -> list[str]:
    """Known values of a `SequenceInfo` attribute that occur in two splits, as sentences."""
    values = {
        name: {
            str(value)
            for number in np.unique(split.sequence)
            if (value := getattr(dataset.sequences[number], attribute)) is not None
        }
        for name, split in dataset.splits.items()
    }
    return [
        f"{attribute}s in both {first} and {second}: {first_few(sorted(both))}"
        for first, second in combinations(values, 2)
        if (both := values[first] & values[second])
    ]
