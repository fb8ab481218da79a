"""What is in a data set, and whether it is plausible: `tuner data inspect` and `verify`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cameras import pixels_from_screen
from trainables.data.checks import by_sequence, knees_bend_forward, reprojection
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.plausibility import (
    Check,
    bone_lengths_of_subjects,
    bone_names,
    plausibility,
)
from trainables.data.verification import faults, shared_between_splits
from trainables.names import natural_key
from trainables.skeletons import Skeleton

__all__ = ["check_dataset", "inspect_dataset"]


def inspect_dataset(dataset: PoseDataset, *, validates: bool = True) -> dict[str, Any]:
    """Describe a data set and check its plausibility on a sample of its poses.

    Args:
        dataset: A decoded data set.
        validates: Whether it must have a validation split.

    Returns:
        A JSON-able object: `dataset`, `hash`, `skeleton`, `splits` (`frames`: distinct moments,
        `views`: poses, a moment seen by four cameras counting four, `scored`: poses that count
        in errors, `sequences`, `subjects`, `actions`, `cameras`, `fps`, `ranges`,
        `reprojection_px`, `knees_bend_forward`), `bone_lengths_mm` by subject, `problems`,
        `notes`.
    """
    broken = faults(dataset, validates=validates)
    report: dict[str, Any] = {
        "dataset": dataset.name,
        "hash": dataset.content_hash(),
        "skeleton": _skeleton(dataset.skeleton),
        "splits": {},
        "bone_lengths_mm": {},
        "problems": broken,
        "notes": list(dataset.notes),
    }
    for name, split in dataset.splits.items():
        report["splits"][name] = _counts(dataset, split)
        if not broken:
            report["splits"][name] |= _views(dataset, split) | _figures(dataset, split)
    if not broken:
        report["bone_lengths_mm"] = _bones_mm(dataset)
        for check in plausibility(dataset):
            if check.message:
                report["problems" if check.verdict == "problem" else "notes"].append(check.message)
    report["notes"].extend(shared_between_splits(dataset, "subject"))
    return report


def _skeleton(skeleton: Skeleton) -> dict[str, Any]:
    """Name, joints, and the bones of the limb pairs: left, right."""
    return {
        "name": skeleton.name,
        "joints": list(skeleton.joints),
        "limbs": [
            [f"{skeleton.joints[start]}-{skeleton.joints[end]}" for start, end in pair]
            for pair in skeleton.limb_pairs
        ],
    }


def check_dataset(dataset: PoseDataset, *, validates: bool = True) -> list[Check]:
    """Check every pose of a data set, whatever is wrong with it.

    Args:
        dataset: A decoded data set; it need not have passed `verify_dataset`.
        validates: Whether it must have a validation split.

    Returns:
        What was checked. If what training needs is not fulfilled, that comes first, and nothing
        else is looked at where arrays are malformed.
    """
    poses = sum(len(split) for split in dataset.splits.values())
    found = faults(dataset, validates=validates)
    checks = [
        Check("what training needs", "all", "a fault", "no fault", "problem", fault)
        for fault in found
    ]
    if not found:
        checks.append(Check("shapes, units, NaN", "all", f"{poses:,} poses", "no fault", "ok"))
        checks.append(_sources(dataset))
    if not any(_is_malformed(split) for split in dataset.splits.values()):
        checks.extend(plausibility(dataset, limit=None, over_time=True))
    return checks


def _is_malformed(split: PoseSplit) -> bool:
    """Whether arrays are such that nothing can be measured on them."""
    arrays = (split.x, split.y, split.sequence, split.frame)
    return (
        len(split) == 0
        or len({len(array) for array in arrays}) > 1
        or not (np.isfinite(split.x).all() and np.isfinite(split.y).all())
    )


def _sources(dataset: PoseDataset) -> Check:
    known = {info.source for info in dataset.sequences}
    if None in known:
        return Check(
            "shared recordings",
            "all",
            "unknown",
            "none",
            "note",
            "the recordings behind the sequences are not named, so one that drives bodies of two "
            "splits would not be noticed",
        )
    return Check("shared recordings", "all", f"none of {len(known)}", "none", "ok")


def _counts(dataset: PoseDataset, split: PoseSplit) -> dict[str, Any]:
    """How much there is; frames are counted in the first view of each sequence."""
    numbers, poses = np.unique(split.sequence, return_counts=True)
    frames: dict[tuple[str, str], int] = {}
    for number, count in zip(numbers, poses, strict=True):
        if 0 <= number < len(dataset.sequences):
            info = dataset.sequences[number]
            frames.setdefault((info.subject, info.action), int(count))
    return {
        "frames": sum(frames.values()),
        "views": len(split),
        "scored": len(split) if split.valid is None else int(split.valid.sum()),
        "subjects": sorted({subject for subject, _ in frames}, key=natural_key),
        "sequences": len(frames),
    }


def _views(dataset: PoseDataset, split: PoseSplit) -> dict[str, Any]:
    """What is known of the sequences."""
    infos = [dataset.sequences[number] for number in np.unique(split.sequence)]
    sizes = {f"{info.size[0]}x{info.size[1]}" for info in infos if info.size}
    return {
        "actions": sorted({info.base_action for info in infos}, key=natural_key),
        "cameras": {
            "views": sorted({info.view for info in infos}, key=natural_key),
            "calibrated": sum(info.camera is not None for info in infos),
            "of": len(infos),
            "image_sizes": sorted(sizes, key=natural_key),
        },
        "fps": sorted({round(info.fps, 3) for info in infos}),
        "ordered": all(info.ordered for info in infos),
    }


def _figures(dataset: PoseDataset, split: PoseSplit) -> dict[str, Any]:
    """Ranges in their units, and two figures on plausibility."""
    found: dict[str, Any] = {
        "ranges": _ranges(dataset, split),
        "knees_bend_forward": round(knees_bend_forward(split.y, dataset.skeleton), 4),
    }
    distances = reprojection(dataset, split).distance_px
    if distances.size:
        found["reprojection_px"] = {
            "median": round(float(np.median(distances)), 4),
            "p99": round(float(np.quantile(distances, 0.99)), 4),
            "max": round(float(distances.max()), 4),
        }
    return found


def _ranges(dataset: PoseDataset, split: PoseSplit) -> dict[str, list[float]]:
    """Least and greatest values: 2D in pixels and normalised, 3D and distance in metres."""
    pixels = [
        pixels_from_screen(part, info.size)
        for info, poses in by_sequence(dataset, split, None)
        if info.size is not None and len(part := split.x[poses])
    ]
    found: dict[str, list[float]] = {}
    for axis, name in enumerate("xy"):
        found[f"{name}_normalised"] = _ends(split.x[..., axis])
        if pixels:
            ends = [_ends(part[..., axis], 1) for part in pixels]
            found[f"{name}_px"] = [min(low for low, _ in ends), max(high for _, high in ends)]
    for axis, name in enumerate(("right", "down", "forward")):
        found[f"{name}_m"] = _ends(split.y[..., axis])
    if split.root is not None:
        found["distance_m"] = _ends(np.linalg.norm(split.root, axis=-1))
    return found


def _ends(values: NDArray[Any], decimals: int = 3) -> list[float]:
    return [round(float(values.min()), decimals), round(float(values.max()), decimals)]


def _bones_mm(dataset: PoseDataset) -> dict[str, dict[str, float]]:
    """Median bone lengths by subject, millimetres."""
    names = bone_names(dataset.skeleton)
    return {
        subject: {
            bone: round(1000 * float(median), 1)
            for bone, median in zip(names, np.median(lengths_m, axis=0), strict=True)
        }
        for subject, lengths_m in bone_lengths_of_subjects(dataset).items()
    }
