"""Measurements over time and between splits: frozen frames, jumps, poses that occur twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.checks import by_sequence
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.findings import FrameRun, find_runs, sequence_name
from trainables.skeletons import Skeleton

__all__ = [
    "Jumps",
    "Motion",
    "Repetition",
    "limb_distances",
    "motion",
    "pose_signatures",
    "repetitions",
]

STILL_M = 2e-6
"""Poses are stored in steps of 1e-6 m; no sensor repeats itself so closely."""
SIGNATURE_STEP_M = 1e-3
"""Coarse enough for the rounding of another camera's frame, fine enough for 8 distances of a
moving body to tell its poses apart."""
SIGNATURE_DISTANCES = 8
MIN_REPEATED_POSES = 3
MIN_REPEATED_SHARE = 0.1


@dataclass(frozen=True)
class Jumps:
    """Steps faster than a limit.

    Attributes:
        count: How many.
        fastest_m_s: Greatest speed of all steps.
        fastest_where: Sequence, frame and joint of it.
        runs: Where the steps above the limit end.
    """

    count: int = 0
    fastest_m_s: float = 0.0
    fastest_where: str = ""
    runs: tuple[FrameRun, ...] = ()

    def __add__(self, other: Jumps) -> Jumps:
        fastest = max(self, other, key=lambda jumps: jumps.fastest_m_s)
        return Jumps(
            self.count + other.count,
            fastest.fastest_m_s,
            fastest.fastest_where,
            self.runs + other.runs,
        )


@dataclass(frozen=True)
class Motion:
    """How a split's joints move from one frame to the next.

    Attributes:
        steps: Steps that were looked at: pairs of successive valid frames of ordered sequences.
        frozen: Steps in which nothing moves, neither in 3D nor in 2D.
        frozen_runs: Where they end.
        joints: Of joints in the camera's frame, relative to the origin.
        body: Of the origin itself, where its place is known.
    """

    steps: int
    frozen: int
    frozen_runs: tuple[FrameRun, ...]
    joints: Jumps
    body: Jumps


@dataclass(frozen=True)
class _Steps:
    """The steps of one sequence: places in the split before and after, steps per second."""

    name: str
    before: NDArray[np.intp]
    after: NDArray[np.intp]
    rate: NDArray[np.float64]


def motion(
    dataset: PoseDataset, split: PoseSplit, *, limit_m_s: float, root_limit_m_s: float
) -> Motion:
    """Look at every step of every ordered sequence between two frames that are scored.

    What stands in frames that are not may be put there by a loader.

    Args:
        dataset: The data set.
        split: One of its splits.
        limit_m_s: Above this speed, relative to the origin, a step of a joint is a jump.
        root_limit_m_s: Above this speed a step of the origin is.
    """
    steps = frozen = 0
    frozen_runs: list[FrameRun] = []
    joints = body = Jumps()
    for one in _steps(dataset, split):
        frames = split.frame[one.after]
        moved_m = np.linalg.norm(split.y[one.after] - split.y[one.before], axis=-1)
        still_2d = np.abs(split.x[one.after] - split.x[one.before]).max(axis=(1, 2)) < STILL_M
        still: NDArray[np.bool_] = (moved_m.max(axis=1) < STILL_M) & still_2d
        if split.root is not None:
            travelled_m = np.linalg.norm(split.root[one.after] - split.root[one.before], axis=-1)
            body += _jumps(one, frames, travelled_m[:, None], root_limit_m_s, ("",))
        joints += _jumps(one, frames, moved_m, limit_m_s, dataset.skeleton.joints)
        steps, frozen = steps + len(still), frozen + int(still.sum())
        frozen_runs.extend(find_runs(one.name, still, one.after, frames))
    return Motion(steps, frozen, tuple(frozen_runs), joints, body)


def _steps(dataset: PoseDataset, split: PoseSplit) -> Iterator[_Steps]:
    for info, poses in by_sequence(dataset, split, None):
        if not info.ordered or len(poses) < 2:
            continue
        scored = np.ones(len(poses), np.bool_) if split.valid is None else split.valid[poses]
        kept = np.flatnonzero(scored[1:] & scored[:-1])
        if len(kept) == 0:
            continue
        numbers = np.diff(split.frame[poses])
        # frame numbers count in the source, so a stride of 5 makes steps of 5
        gaps = np.maximum(numbers[kept] / max(int(numbers.min()), 1), 1.0)
        yield _Steps(sequence_name(info), poses[kept], poses[kept + 1], info.fps / gaps)


def _jumps(
    steps: _Steps,
    frames: NDArray[np.int32],
    moved_m: NDArray[Any],
    limit_m_s: float,
    names: tuple[str, ...],
) -> Jumps:
    """The steps of a sequence that are too fast, and the fastest; (T, points) and their names."""
    speeds = moved_m * steps.rate[:, None]
    fast: NDArray[np.bool_] = speeds.max(axis=1) > limit_m_s
    step, point = np.unravel_index(int(speeds.argmax()), speeds.shape)
    where = f"{steps.name}, frame {frames[step]}"
    return Jumps(
        int(fast.sum()),
        float(speeds.max()),
        f"{where}, {names[int(point)]}" if names[int(point)] else where,
        tuple(find_runs(steps.name, fast, steps.after, frames)),
    )


@dataclass(frozen=True)
class Repetition:
    """A sequence of one split whose poses occur in another split.

    Attributes:
        split: Its split.
        sequence: Subject and action.
        other: The split that has the same poses.
        share: Share of its poses.
    """

    split: str
    sequence: str
    other: str
    share: float


def repetitions(dataset: PoseDataset) -> list[Repetition]:
    """Sequences that repeat in another split, by content, whatever their names and cameras are."""
    signatures = {
        name: pose_signatures(split.y, dataset.skeleton) for name, split in dataset.splits.items()
    }
    found: dict[tuple[str, str, str], float] = {}
    for one, other in combinations(dataset.splits, 2):
        known = np.unique(signatures[one])
        split = dataset.splits[other]
        repeated = np.isin(signatures[other], known)
        if not repeated.any():
            continue
        for info, poses in by_sequence(dataset, split, None):
            share = float(repeated[poses].mean())
            if repeated[poses].sum() >= MIN_REPEATED_POSES and share >= MIN_REPEATED_SHARE:
                key = (other, f"{info.subject} {info.action!r}", one)
                found[key] = max(share, found.get(key, 0.0))
    return [Repetition(*key, share) for key, share in found.items()]


def pose_signatures(y: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.uint64]:
    """A number for each pose that no turn and no place of the camera changes, (N,).

    It is made of eight distances between elbows, wrists, knees and ankles, to a millimetre.
    """
    generator = np.random.default_rng(0)
    factors = generator.integers(1, 2**63, SIGNATURE_DISTANCES, np.uint64) | np.uint64(1)
    signature = np.zeros(len(y), np.uint64)
    for distance_m, factor in zip(limb_distances(y, skeleton).T, factors, strict=True):
        # the product wraps, as that of a hash may
        signature += np.round(distance_m / SIGNATURE_STEP_M).astype(np.uint64) * factor
    return signature


def limb_distances(points: NDArray[Any], skeleton: Skeleton) -> NDArray[Any]:
    """Eight distances between elbows, wrists, knees and ankles, which no turn changes.

    Args:
        points: Poses of any unit and place, (N, J, 3).
        skeleton: Its `limb_pairs` say which joints these are.

    Returns:
        Distances in the same unit, (N, 8).
    """
    _, forearms, _, shins = skeleton.limb_pairs
    (elbows, wrists), (knees, ankles) = (
        tuple(zip(*pair, strict=True)) for pair in (forearms, shins)
    )
    pairs = (
        *((wrists[0], wrists[1]), (ankles[0], ankles[1])),
        *((wrists[0], ankles[0]), (wrists[1], ankles[1])),
        *((wrists[1], ankles[0]), (wrists[0], ankles[1])),
        *((elbows[0], knees[1]), (elbows[1], knees[0])),
    )
    distances = [np.linalg.norm(points[:, a] - points[:, b], axis=-1) for a, b in pairs]
    return np.stack(distances, axis=1)
