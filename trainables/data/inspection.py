"""What is in a data set, and whether it is plausible: `tuner data inspect`."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainables.data.checks import (
    bone_lengths_m,
    knees_bend_forward,
    outside_image,
    reprojection_px,
    subject_of_pose,
)
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.names import natural_key
from trainables.data.verification import faults, shared_between_splits

__all__ = ["inspect_dataset"]

MAX_BONE_SPREAD_M = 0.005
MAX_ASYMMETRY_M = 0.02
MAX_OUTSIDE_SHARE = 0.01
MAX_MEDIAN_REPROJECTION_PX = 30.0


def inspect_dataset(dataset: PoseDataset) -> dict[str, Any]:
    """Describe a data set and check its plausibility.

    Args:
        dataset: A decoded data set.

    Returns:
        A JSON-able object: `dataset`, `hash`, `skeleton`, `splits` (`frames`: distinct moments,
        `views`: poses, a moment seen by four cameras counting four, `subjects`, `sequences`,
        `reprojection_px`, `knees_bend_forward`), `bone_lengths_mm` by subject, `problems`,
        `notes`.
    """
    problems = faults(dataset)
    report: dict[str, Any] = {
        "dataset": dataset.name,
        "hash": dataset.content_hash(),
        "skeleton": {"name": dataset.skeleton.name, "joints": list(dataset.skeleton.joints)},
        "splits": {},
        "bone_lengths_mm": {},
        "problems": problems,
        "notes": list(dataset.notes),
    }
    for name, split in dataset.splits.items():
        report["splits"][name] = _counts(dataset, split)
        if not problems:
            report["splits"][name].update(_projection(dataset, name, split, problems))
    if not problems:
        report["bone_lengths_mm"] = _bones(dataset, problems)
    report["notes"].extend(shared_between_splits(dataset, "subject"))
    return report


def _counts(dataset: PoseDataset, split: PoseSplit) -> dict[str, Any]:
    """How much there is; frames are counted in the first view of each sequence."""
    numbers, poses = np.unique(split.sequence, return_counts=True)
    frames: dict[tuple[str, str], int] = {}
    for number, count in zip(numbers, poses, strict=True):
        info = dataset.sequences[number]
        frames.setdefault((info.subject, info.action), int(count))
    return {
        "frames": sum(frames.values()),
        "views": len(split),
        "subjects": sorted({subject for subject, _ in frames}, key=natural_key),
        "sequences": len(frames),
    }


def _projection(
    dataset: PoseDataset, name: str, split: PoseSplit, problems: list[str]
) -> dict[str, Any]:
    """Does the 2D belong to the 3D, and to the image?"""
    found: dict[str, Any] = {
        "knees_bend_forward": round(knees_bend_forward(split.y, dataset.skeleton), 4)
    }
    outside = outside_image(dataset, split)
    if outside > MAX_OUTSIDE_SHARE:
        problems.append(f"{name}: {outside:.1%} of the 2D key points lie outside their image")
    distances = reprojection_px(dataset, split)
    if distances.size:
        median = float(np.median(distances))
        found["reprojection_px"] = {
            "median": round(median, 4),
            "p99": round(float(np.quantile(distances, 0.99)), 4),
            "max": round(float(distances.max()), 4),
        }
        if median > MAX_MEDIAN_REPROJECTION_PX:
            problems.append(
                f"{name}: the 2D lies {median:.0f} px off the projected 3D; 2D and 3D are of "
                "different copies, or the cameras are others"
            )
    return found


def _bones(dataset: PoseDataset, problems: list[str]) -> dict[str, dict[str, float]]:
    """Median bone lengths by subject, millimetres; they should be constant and symmetric."""
    skeleton = dataset.skeleton
    lengths: dict[str, list[np.ndarray]] = {}
    for split in dataset.splits.values():
        measured, subjects = bone_lengths_m(split.y, skeleton), subject_of_pose(dataset, split)
        for subject in np.unique(subjects):
            lengths.setdefault(str(subject), []).append(measured[subjects == subject])
    table: dict[str, dict[str, float]] = {}
    for subject in sorted(lengths, key=natural_key):
        all_m = np.concatenate(lengths[subject])
        medians = np.median(all_m, axis=0)
        names = [f"{skeleton.joints[a]}-{skeleton.joints[b]}" for a, b in skeleton.segments]
        table[subject] = {
            bone: round(1000 * float(median), 1)
            for bone, median in zip(names, medians, strict=True)
        }
        spread = np.quantile(all_m, 0.99, axis=0) - np.quantile(all_m, 0.01, axis=0)
        if spread.max() > MAX_BONE_SPREAD_M:
            problems.append(
                f"{subject}: the length of {names[int(spread.argmax())]} varies by "
                f"{1000 * spread.max():.0f} mm"
            )
        for left, right in skeleton.limb_pairs:
            ends = (skeleton.segments.index(left), skeleton.segments.index(right))
            difference = abs(float(medians[ends[0]] - medians[ends[1]]))
            if difference > MAX_ASYMMETRY_M:
                problems.append(
                    f"{subject}: {names[ends[0]]} and {names[ends[1]]} differ by "
                    f"{1000 * difference:.0f} mm"
                )
    return table
