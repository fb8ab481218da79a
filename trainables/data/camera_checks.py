"""Does the 2D belong to the 3D, to its camera and to the image?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from trainables.data.cameras import pixels_from_screen
from trainables.data.checks import (
    Reprojection,
    SequenceFit,
    by_sequence,
    distances_px,
    evenly,
    outside_image,
    project_clipped,
    reprojection,
)
from trainables.data.dataset import Camera, PoseDataset, PoseSplit
from trainables.data.findings import LONG_RUN, Check, FrameRun, Verdict, name_runs, sequence_name
from trainables.names import first_few

__all__ = ["camera_checks", "share_check"]

MAX_OUTSIDE_SHARE = 0.01
MAX_MEDIAN_REPROJECTION_PX = 30.0
"""Detectors are 5 to 10 px off on images of 1000 px; another camera hundreds."""
FINE_PX = 1.0
"""Nobody sees less; annotations are rounded to a few tenths."""
MAX_RATIO = 10.0
"""To the median of all sequences: what is exact elsewhere, or noisy everywhere, is to be so."""
BETTER_FIT = 0.5
COMPARED_POSES = 200
"""Of a sequence, with other cameras."""
COMPARISONS = 2_000_000
MIN_COMPARED_POSES = 10
MAX_EXCHANGED_SHARE = 0.01
"""Detectors exchange left and right in some frames; labels that do are wrong."""
LONG_DETECTOR_RUN = 25
"""Detectors lose a person's sides for up to some 20 frames; exact 2D never does."""


def camera_checks(dataset: PoseDataset, limit: int | None) -> Iterator[Check]:
    """Check the 2D of all splits.

    Args:
        dataset: The data set.
        limit: Poses of each split that are looked at, evenly spaced; None for all.
    """
    fits = {name: reprojection(dataset, split, limit) for name, split in dataset.splits.items()}
    medians = [one.median_px for fit in fits.values() for one in fit.sequences]
    usual_px = float(np.median(medians)) if medians else 0.0
    for name, split in dataset.splits.items():
        yield _inside(dataset, name, split, limit)
        fit = fits[name]
        if not fit.distance_px.size:
            yield Check("2D off the 3D", name, "no cameras", "-", "ok")
            continue
        yield _distance(name, fit)
        yield from _outliers(name, fit, usual_px)
        yield _own_camera(dataset, name, split, fit)
        yield share_check(
            "2D left/right swapped",
            name,
            (int(fit.exchanged.sum()), fit.exchanged.size),
            MAX_EXCHANGED_SHARE,
            "have the 2D of left and right exchanged",
            [run for one in fit.sequences for run in one.exchanged],
            long_run=LONG_RUN if usual_px <= FINE_PX else LONG_DETECTOR_RUN,
        )
        yield share_check(
            "behind the camera",
            name,
            (int(fit.behind.sum()), fit.behind.size),
            0.0,
            "lie behind their camera",
            [run for one in fit.sequences for run in one.behind],
        )


def share_check(
    name: str,
    where: str,
    counts: tuple[int, int],
    limit: float,
    what: str,
    runs: Sequence[FrameRun],
    *,
    unit: str = "poses",
    long_run: int = LONG_RUN,
) -> Check:
    """A share of the poses: a problem above a limit, or in a long run; a note above 0.

    Args:
        name: Of the check.
        where: The split.
        counts: How many have the fault, and of how many.
        limit: The share that is accepted.
        what: What is wrong with them.
        runs: Where.
        unit: What is counted.
        long_run: From how many in a row on it is a problem.
    """
    count, total = counts
    share = count / total if total else 0.0
    longest = max((run.length for run in runs), default=0)
    bad = share > limit or longest >= long_run
    verdict: Verdict = "problem" if bad else "note" if count else "ok"
    return Check(
        name,
        where,
        f"{count:,} {unit}" + (f" ({share:.2%}), {longest} in a row" if count else ""),
        f"<= {limit:.0%}, < {long_run} in a row" if limit else "none",
        verdict,
        f"{where}: {count:,} of {total:,} {unit} {what}: {name_runs(runs)}" if count else "",
    )


def _inside(dataset: PoseDataset, name: str, split: PoseSplit, limit: int | None) -> Check:
    outside = outside_image(dataset, split, limit)
    far_out = outside > MAX_OUTSIDE_SHARE
    return Check(
        "2D inside the image",
        name,
        f"{outside:.2%} outside",
        f"<= {MAX_OUTSIDE_SHARE:.0%}",
        "problem" if far_out else "ok",
        f"{name}: {outside:.1%} of the 2D key points lie outside their image" if far_out else "",
    )


def _distance(name: str, fit: Reprojection) -> Check:
    """Is the 2D at all near the 3D?"""
    median, p99 = np.quantile(fit.distance_px, (0.5, 0.99))
    off = [one.name for one in fit.sequences if one.median_px > MAX_MEDIAN_REPROJECTION_PX]
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
    return Check(
        "2D off, p50/p99/max",
        name,
        f"{median:.2f}/{p99:.2f}/{fit.distance_px.max():.2f} px",
        f"median <= {MAX_MEDIAN_REPROJECTION_PX:.0f}",
        "problem" if sentence else "ok",
        sentence,
    )


def _outliers(name: str, fit: Reprojection, usual_px: float) -> Iterator[Check]:
    """Views and sequences whose 2D is far worse than that of the rest of the data set."""
    limit_px = max(FINE_PX, MAX_RATIO * usual_px)
    views = {view: _median_px(fit.sequences, view) for view in {s.view for s in fit.sequences}}
    sequences = {one.name: one.median_px for one in fit.sequences}
    for kind, medians in (("view", views), ("sequence", sequences)):
        ranked = sorted(medians, key=lambda key: (-medians[key], key))
        off = [f"{key} ({medians[key]:.1f} px)" for key in ranked if medians[key] > limit_px]
        yield Check(
            f"2D off, worst {kind}",
            name,
            f"{medians[ranked[0]]:.2f} px: {ranked[0]}",
            f"<= {limit_px:.1f} px",
            "problem" if off else "ok",
            f"{name}: the 2D lies far more off the projected 3D than the {usual_px:.2f} px that "
            f"are usual in this data set, in {_count(len(off), kind)}: {first_few(off)}; is it "
            "shifted, late, or of another camera?"
            if off
            else "",
        )


def _median_px(fits: Iterable[SequenceFit], view: str) -> float:
    """Of a view, over its sequences."""
    return float(np.median([one.median_px for one in fits if one.view == view]))


def _own_camera(dataset: PoseDataset, name: str, split: PoseSplit, fit: Reprojection) -> Check:
    """Sequences whose 2D fits the calibration of another camera at less than half the error."""
    cameras: dict[Camera, str] = {}
    for info in dataset.sequences:
        if info.camera is not None:
            cameras.setdefault(info.camera, f"{info.subject} {info.view}")
    doubtful = {one.name for one in fit.sequences if one.median_px > FINE_PX}
    work = max(1, len(doubtful) * len(cameras))
    sample = min(COMPARED_POSES, max(MIN_COMPARED_POSES, COMPARISONS // work))
    others = []
    for info, poses in by_sequence(dataset, split, None):
        if info.camera is None or split.root is None or sequence_name(info) not in doubtful:
            continue
        chosen = poses[evenly(len(poses), sample)]
        points_m = split.y[chosen].astype(np.float64) + split.root[chosen][:, None]
        pixels = pixels_from_screen(split.x[chosen], info.camera.size)
        errors_px = {
            camera: float(np.median(distances_px(project_clipped(points_m, camera), pixels)))
            for camera in cameras
        }
        own_px, best = errors_px[info.camera], min(cameras, key=errors_px.__getitem__)
        if own_px > FINE_PX and errors_px[best] < BETTER_FIT * own_px:
            others.append(
                f"{sequence_name(info)} ({own_px:.1f} px, {errors_px[best]:.1f} px with "
                f"{cameras[best]})"
            )
    return Check(
        "2D fits its own camera",
        name,
        f"{len(fit.sequences) - len(others):,} of {len(fit.sequences):,}",
        "all sequences",
        "problem" if others else "ok",
        f"{name}: the 2D fits the calibration of another camera far better in "
        f"{_count(len(others), 'sequence')}: {first_few(others)}; are cameras exchanged?"
        if others
        else "",
    )


def _count(number: int, kind: str) -> str:
    return f"{number:,} {kind}{'' if number == 1 else 's'}"
