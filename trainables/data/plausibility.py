"""The checks of `tuner data verify`, and, on a sample of the poses, of `tuner data inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.data.checks import (
    SAMPLED_POSES,
    bone_lengths_m,
    by_sequence,
    knee_votes,
    outside_image,
    reprojection,
    subject_of_pose,
)
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.motion_checks import motion, repetitions
from trainables.data.names import first_few, natural_key
from trainables.skeletons import H3WB_133, Skeleton

__all__ = ["Check", "Verdict", "bone_lengths_of_subjects", "bone_names", "plausibility"]

Verdict: TypeAlias = Literal["ok", "note", "problem"]

MAX_BONE_SPREAD_M = 0.005
"""Between a subject's 1st and 99th percentile; published sets are rigid within a millimetre."""
MAX_BONE_ERROR_M = 0.03
"""Of a single pose, from the subject's median: a joint that is not where the body is."""
MAX_ASYMMETRY_M = 0.02
"""People differ by less than a centimetre between left and right; labels by a little more."""
MAX_ESTIMATED_SPREAD_M = 0.2
"""H3WB's joints were estimated frame by frame and of several people, whose bones differ."""
MAX_ESTIMATED_ASYMMETRY_M = 0.05
MIN_KNEES_FORWARD = 0.9
MIN_BENT_KNEES = 40
"""In a sequence with fewer, a few wrong ones would make a great share."""
MAX_OUTSIDE_SHARE = 0.01
MAX_MEDIAN_REPROJECTION_PX = 30.0
"""Detectors are 5 to 10 px off on images of 1000 px; another camera hundreds."""
MAX_EXCHANGED_SHARE = 0.01
"""Detectors exchange left and right in some frames; labels that do are wrong."""
MAX_FROZEN_SHARE = 0.05
MAX_SPEED_M_S = 30.0
"""The fastest wrists and feet (a pitch, a volley) reach 20 to 25 m/s."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What, in a few words.
        where: Split or subject.
        found: The figure, with its unit.
        expected: What is accepted.
        verdict: `problem` if it is not; `note` for what a person should know.
        message: The same as one sentence; empty if all is well.
    """

    name: str
    where: str
    found: str
    expected: str
    verdict: Verdict
    message: str = ""


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
    found: list[Check] = []
    for name, split in dataset.splits.items():
        found.extend(_image_checks(dataset, name, split, limit))
        found.append(_knees(dataset, name, split, limit))
        if over_time:
            found.extend(_motion_checks(dataset, name, split))
    found.extend(_bones(dataset))
    if over_time:
        found.append(_repetitions(dataset))
    return found


def _image_checks(
    dataset: PoseDataset, name: str, split: PoseSplit, limit: int | None
) -> Iterator[Check]:
    """Does the 2D belong to the 3D, and to the image?"""
    outside = outside_image(dataset, split, limit)
    far_out = outside > MAX_OUTSIDE_SHARE
    yield Check(
        "2D inside the image",
        name,
        f"{outside:.2%} outside",
        f"<= {MAX_OUTSIDE_SHARE:.0%}",
        "problem" if far_out else "ok",
        f"{name}: {outside:.1%} of the 2D key points lie outside their image" if far_out else "",
    )
    fit = reprojection(dataset, split, limit)
    if not fit.distance_px.size:
        yield Check("2D off the 3D", name, "no cameras", "-", "ok")
        return
    median, p99 = np.quantile(fit.distance_px, (0.5, 0.99))
    figures = f"{median:.2f}/{p99:.2f}/{fit.distance_px.max():.2f} px"
    expected = f"median <= {MAX_MEDIAN_REPROJECTION_PX:.0f}"
    off = [who for who, px in fit.sequence_medians_px if px > MAX_MEDIAN_REPROJECTION_PX]
    sentence = ""
    if median > MAX_MEDIAN_REPROJECTION_PX:
        sentence = (
            f"{name}: the 2D lies {median:.0f} px off the projected 3D; 2D and 3D are of "
            "different copies, or the cameras are others"
        )
    elif off:
        sentence = (
            f"{name}: the 2D lies more than {MAX_MEDIAN_REPROJECTION_PX:.0f} px off the projected "
            f"3D in {len(off)} sequences: {first_few(off)}"
        )
    yield Check(
        "2D off, p50/p99/max",
        name,
        figures,
        expected,
        "problem" if sentence else "ok",
        sentence,
    )
    yield _share(
        "2D left/right swapped",
        name,
        fit.exchanged,
        MAX_EXCHANGED_SHARE,
        "have the 2D of left and right exchanged",
    )
    yield _share("behind the camera", name, fit.behind, 0.0, "lie behind their camera")


def _share(name: str, where: str, bad: NDArray[np.bool_], limit: float, what: str) -> Check:
    """A share of the poses, which is a problem above a limit and a note above 0."""
    count, share = int(bad.sum()), float(bad.mean()) if bad.size else 0.0
    verdict: Verdict = "problem" if share > limit else "note" if count else "ok"
    return Check(
        name,
        where,
        f"{count:,} poses" + (f" ({share:.2%})" if count else ""),
        f"<= {limit:.0%}" if limit else "none",
        verdict,
        f"{where}: {count:,} of {bad.size:,} poses {what}" if count else "",
    )


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
    seen = motion(dataset, split, limit_m_s=MAX_SPEED_M_S)
    if not seen.steps:
        yield Check("frozen frames, jumps", name, "no frames in order", "-", "ok")
        return
    share = seen.frozen / seen.steps
    yield Check(
        "frozen frames",
        name,
        f"{seen.frozen:,} ({share:.2%})",
        f"<= {MAX_FROZEN_SHARE:.0%}",
        "problem" if share > MAX_FROZEN_SHARE else "note" if seen.frozen else "ok",
        f"{name}: {seen.frozen:,} of {seen.steps:,} frames repeat the one before them exactly"
        if seen.frozen
        else "",
    )
    yield Check(
        "jumps, fastest joint",
        name,
        f"{seen.jumps:,}, {seen.fastest_m_s:.1f} m/s",
        f"<= {MAX_SPEED_M_S:.0f} m/s",
        "problem" if seen.jumps else "ok",
        f"{name}: a joint jumps in {seen.jumps:,} of {seen.steps:,} steps, at up to "
        f"{seen.fastest_m_s:.0f} m/s: {seen.fastest_where}"
        if seen.jumps
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
    counted = skeleton.limbs if estimated else skeleton.segments
    chosen = [skeleton.segments.index(segment) for segment in counted]
    found: dict[str, list[tuple[float, Check]]] = {}
    for subject, lengths_m in bone_lengths_of_subjects(dataset).items():
        medians = np.median(lengths_m, axis=0)
        rows = [
            _constant(skeleton, subject, lengths_m, chosen, estimated=estimated),
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


def _constant(
    skeleton: Skeleton,
    subject: str,
    lengths_m: NDArray[np.float32],
    chosen: list[int],
    *,
    estimated: bool,
) -> tuple[float, Check]:
    low, high = np.quantile(lengths_m[:, chosen], (0.01, 0.99), axis=0)
    worst = int((high - low).argmax())
    spread, name = float((high - low)[worst]), bone_names(skeleton)[chosen[worst]]
    limit = MAX_ESTIMATED_SPREAD_M if estimated else MAX_BONE_SPREAD_M
    bad = spread > limit
    return spread, Check(
        "constant bones" if not estimated else "constant limbs",
        subject,
        f"{1000 * spread:.1f} mm",
        f"<= {1000 * limit:.0f} mm",
        "problem" if bad else "ok",
        f"{subject}: the length of {name} varies by {1000 * spread:.0f} mm" if bad else "",
    )


def _steady(
    skeleton: Skeleton, subject: str, lengths_m: NDArray[np.float32], medians: NDArray[np.float32]
) -> tuple[float, Check]:
    """Single poses that the percentiles do not see."""
    errors = np.abs(lengths_m - medians)
    poses = int((errors.max(axis=1) > MAX_BONE_ERROR_M).sum())
    worst = bone_names(skeleton)[int(errors.max(axis=0).argmax())]
    return float(errors.max()), Check(
        "bones of every pose",
        subject,
        f"{1000 * float(errors.max()):.1f} mm off",
        f"<= {1000 * MAX_BONE_ERROR_M:.0f} mm",
        "problem" if poses else "ok",
        f"{subject}: in {poses:,} poses a bone differs from its usual length by more than "
        f"{1000 * MAX_BONE_ERROR_M:.0f} mm, {worst} by up to {1000 * float(errors.max()):.0f} mm"
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
