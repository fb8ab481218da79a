"""The checks of `tuner data verify`, and, on a sample of the poses, of `tuner data inspect`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainables.data.camera_checks import camera_checks, share_check
from trainables.data.checks import (
    SAMPLED_POSES,
    bone_lengths_m,
    by_sequence,
    knee_votes,
    subject_of_pose,
)
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.findings import Check, Verdict, name_runs
from trainables.data.motion_checks import motion, repetitions
from trainables.names import first_few, natural_key
from trainables.skeletons import H3WB_133, Skeleton

__all__ = ["Check", "Verdict", "bone_lengths_of_subjects", "bone_names", "plausibility"]

MAX_BONE_SPREAD_M = 0.005
"""Between a subject's 1st and 99th percentile; published sets are rigid within a millimetre."""
MAX_BONE_ERROR_M = 0.03
"""Of a single pose, from the subject's median: a joint that is not where the body is."""
MAX_TRUNK_SPREAD_M = 0.05
"""Spines bend and collar bones turn between the joints of a skeleton, so that what they span
grows and shrinks in recordings that have joints for them."""
MAX_TRUNK_ERROR_M = 0.1
MAX_ASYMMETRY_M = 0.02
"""People differ by less than a centimetre between left and right; labels by a little more."""
MAX_ESTIMATED_SPREAD_M = 0.2
"""H3WB's joints were estimated frame by frame and of several people, whose bones differ."""
MAX_ESTIMATED_ASYMMETRY_M = 0.05
MIN_KNEES_FORWARD = 0.9
MIN_BENT_KNEES = 40
"""In a sequence with fewer, a few wrong ones would make a great share."""
MAX_FROZEN_SHARE = 0.05
MAX_SPEED_M_S = 30.0
"""The fastest wrists and feet (a pitch, a volley) reach 20 to 25 m/s."""
MAX_ROOT_SPEED_M_S = 12.0
"""The fastest sprinters."""


def plausibility(
    dataset: PoseDataset, *, limit: int | None = SAMPLED_POSES, over_time: bool = False
) -> list[Check]:
    """Check a data set whose arrays have the right shapes and hold finite numbers.

    Args:
        dataset: The data set.
        limit: Poses of each split that are looked at, evenly spaced; None for all.
        over_time: Whether to look at motion and for repeated sequences, too, which takes all
            poses.
    """
    found: list[Check] = list(camera_checks(dataset, limit))
    for name, split in dataset.splits.items():
        found.append(_knees(dataset, name, split, limit))
        if over_time:
            found.extend(_motion_checks(dataset, name, split))
    found.extend(_bones(dataset))
    if over_time:
        found.append(_repetitions(dataset))
    return found


def _knees(dataset: PoseDataset, name: str, split: PoseSplit, limit: int | None) -> Check:
    """Left and right by the knees, over all, and in each sequence that bends them."""
    forward = bent = 0
    backward: dict[str, None] = {}
    for info, poses in by_sequence(dataset, split, limit):
        flexed, ahead = knee_votes(split.y[poses], dataset.skeleton)
        forward, bent = forward + int(ahead.sum()), bent + int(flexed.sum())
        if flexed.sum() >= MIN_BENT_KNEES and ahead.sum() < flexed.sum() / 2:
            backward[f"{info.subject} {info.action!r}"] = None
    share = forward / bent if bent else 1.0
    sentence = ""
    if backward:
        sentence = (
            f"{name}: most bent knees bend backward in {len(backward)} sequences: "
            f"{first_few(list(backward))}; left and right may be exchanged"
        )
    elif share < MIN_KNEES_FORWARD:
        sentence = f"{name}: only {share:.0%} of the bent knees bend forward"
    return Check(
        "knees bend forward",
        name,
        f"{share:.1%} of {bent:,}",
        f">= {MIN_KNEES_FORWARD:.0%}",
        "problem" if backward else "note" if sentence else "ok",
        sentence,
    )


def _motion_checks(dataset: PoseDataset, name: str, split: PoseSplit) -> Iterator[Check]:
    """What stands still, and what is too fast."""
    seen = motion(dataset, split, limit_m_s=MAX_SPEED_M_S, root_limit_m_s=MAX_ROOT_SPEED_M_S)
    if not seen.steps:
        yield Check("frozen frames, jumps", name, "no frames in order", "-", "ok")
        return
    yield share_check(
        "frozen frames",
        name,
        (seen.frozen, seen.steps),
        MAX_FROZEN_SHARE,
        "repeat the one before them exactly",
        seen.frozen_runs,
        unit="frames",
    )
    for kind, who, jumps, limit_m_s in (
        ("jumps, fastest joint", "a joint", seen.joints, MAX_SPEED_M_S),
        ("jumps of the body", "the body", seen.body, MAX_ROOT_SPEED_M_S),
    ):
        yield Check(
            kind,
            name,
            f"{jumps.count:,}, {jumps.fastest_m_s:.1f} m/s",
            f"<= {limit_m_s:.0f} m/s",
            "problem" if jumps.count else "ok",
            f"{name}: {who} jumps in {jumps.count:,} of {seen.steps:,} steps "
            f"({name_runs(jumps.runs)}), at up to {jumps.fastest_m_s:.0f} m/s: "
            f"{jumps.fastest_where}"
            if jumps.count
            else "",
        )


def _repetitions(dataset: PoseDataset) -> Check:
    """Sequences that are in two splits by content."""
    found = repetitions(dataset)
    named = [f"{one.sequence} of {one.split} ({one.share:.0%} in {one.other})" for one in found]
    return Check(
        "shared poses",
        "all",
        f"{len(found)} sequences",
        "none",
        "problem" if found else "ok",
        f"the same poses are in two splits: {first_few(named)}" if found else "",
    )


def bone_names(skeleton: Skeleton) -> list[str]:
    """`parent-child` of each segment."""
    return [f"{skeleton.joints[a]}-{skeleton.joints[b]}" for a, b in skeleton.segments]


def bone_lengths_of_subjects(dataset: PoseDataset) -> dict[str, NDArray[np.float32]]:
    """Length of each segment in all poses of each subject, metres, (P, J - 1)."""
    lengths: dict[str, list[NDArray[np.float32]]] = {}
    for split in dataset.splits.values():
        measured = bone_lengths_m(split.y, dataset.skeleton).astype(np.float32)
        subjects = subject_of_pose(dataset, split)
        for subject in np.unique(subjects):
            lengths.setdefault(str(subject), []).append(measured[subjects == subject])
    return {s: np.concatenate(lengths[s]) for s in sorted(lengths, key=natural_key)}


def _bones(dataset: PoseDataset) -> list[Check]:
    """Constant and symmetric bones: each subject that fails, else the one that comes closest."""
    skeleton = dataset.skeleton
    estimated = skeleton == H3WB_133
    found: dict[str, list[tuple[float, Check]]] = {}
    for subject, lengths_m in bone_lengths_of_subjects(dataset).items():
        medians = np.median(lengths_m, axis=0)
        rows = [
            _constant(skeleton, subject, lengths_m, estimated=estimated),
            _symmetric(skeleton, subject, medians, estimated=estimated),
        ]
        if not estimated:
            rows.append(_steady(skeleton, subject, lengths_m, medians))
        for size, check in rows:
            found.setdefault(check.name, []).append((size, check))
    checks = []
    for rows in found.values():
        bad = [check for _, check in rows if check.verdict != "ok"]
        checks.extend(bad or [max(rows, key=lambda row: row[0])[1]])
    return checks


def _limits_m(skeleton: Skeleton, limbs_m: float, trunk_m: float) -> NDArray[np.float64]:
    """A limit for each segment, (J - 1,): arms and legs are rigid, the trunk less so."""
    return np.asarray([limbs_m if s in skeleton.limbs else trunk_m for s in skeleton.segments])


def _constant(
    skeleton: Skeleton, subject: str, lengths_m: NDArray[np.float32], *, estimated: bool
) -> tuple[float, Check]:
    low, high = np.quantile(lengths_m, (0.01, 0.99), axis=0)
    limits_m = (
        _limits_m(skeleton, MAX_ESTIMATED_SPREAD_M, np.inf)
        if estimated
        else _limits_m(skeleton, MAX_BONE_SPREAD_M, MAX_TRUNK_SPREAD_M)
    )
    worst = int(((high - low) / limits_m).argmax())
    spread, limit = float((high - low)[worst]), float(limits_m[worst])
    bad = spread > limit
    return spread / limit, Check(
        "constant bones" if not estimated else "constant limbs",
        subject,
        f"{1000 * spread:.1f} mm",
        f"<= {1000 * limit:.0f} mm",
        "problem" if bad else "ok",
        f"{subject}: the length of {bone_names(skeleton)[worst]} varies by {1000 * spread:.0f} mm"
        if bad
        else "",
    )


def _steady(
    skeleton: Skeleton, subject: str, lengths_m: NDArray[np.float32], medians: NDArray[np.float32]
) -> tuple[float, Check]:
    """Single poses that the percentiles do not see."""
    errors = np.abs(lengths_m - medians)
    limits_m = _limits_m(skeleton, MAX_BONE_ERROR_M, MAX_TRUNK_ERROR_M)
    poses = int((errors > limits_m).any(axis=1).sum())
    worst = int((errors.max(axis=0) / limits_m).argmax())
    found_mm, limit_mm = 1000 * float(errors[:, worst].max()), 1000 * float(limits_m[worst])
    return found_mm / limit_mm, Check(
        "bones of every pose",
        subject,
        f"{found_mm:.1f} mm off",
        f"<= {limit_mm:.0f} mm",
        "problem" if poses else "ok",
        f"{subject}: in {poses:,} poses a bone differs from its usual length by more than "
        f"{limit_mm:.0f} mm, {bone_names(skeleton)[worst]} by up to {found_mm:.0f} mm"
        if poses
        else "",
    )


def _symmetric(
    skeleton: Skeleton, subject: str, medians: NDArray[np.float32], *, estimated: bool
) -> tuple[float, Check]:
    names = bone_names(skeleton)
    pairs = [
        (skeleton.segments.index(left), skeleton.segments.index(right))
        for left, right in skeleton.limb_pairs
    ]
    gaps = [abs(float(medians[left] - medians[right])) for left, right in pairs]
    limit = MAX_ESTIMATED_ASYMMETRY_M if estimated else MAX_ASYMMETRY_M
    unequal = [
        f"{names[left]} and {names[right]} differ by {1000 * gap:.0f} mm"
        for (left, right), gap in zip(pairs, gaps, strict=True)
        if gap > limit
    ]
    return max(gaps), Check(
        "left equals right",
        subject,
        f"{1000 * max(gaps):.1f} mm apart",
        f"<= {1000 * limit:.0f} mm",
        "problem" if unequal else "ok",
        f"{subject}: {'; '.join(unequal)}" if unequal else "",
    )
