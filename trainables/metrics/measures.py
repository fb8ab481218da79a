"""What is measured of each pose of a skeleton, before anything is averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.metrics.functional import (
    LengthErrors,
    bsle,
    joint_distances,
    lle,
    lse,
    procrustes_align,
    scale_align,
)
from trainables.metrics.parts import part_distances
from trainables.metrics.thresholds import PCK_THRESHOLD_MM, auc_thresholds_mm, share_of_thresholds
from trainables.skeletons import BodyPart, Skeleton

__all__ = ["Measure", "Unit", "Values", "build_measures"]


class Unit(Enum):
    """What each value of a measure belongs to."""

    JOINT = "joint"
    SEGMENT = "segment"
    LIMB_PAIR = "limb_pair"


class Values(NamedTuple):
    """Values of some poses, V of each.

    Attributes:
        values: (N, V), float64.
        counted: Which of them count, (N, V), bool; `values` is anything elsewhere.
    """

    values: Tensor
    counted: Tensor


@dataclass(frozen=True)
class Measure:
    """One figure: the mean of its values over poses, and over joints or segments.

    Attributes:
        name: Name of the figure.
        compute: From predictions and ground truth, millimetres, (N, J, 3), float64.
        unit: What a value belongs to; None if there is no table of that.
        labels: Names of those, V; empty without a unit.
    """

    name: str
    compute: Callable[[Tensor, Tensor], Values]
    unit: Unit | None = None
    labels: tuple[str, ...] = ()


def build_measures(skeleton: Skeleton) -> tuple[Measure, ...]:
    """All measures of single poses that apply to a skeleton.

    Returns:
        `mpjpe_mm` first, then `p_mpjpe_mm`, `n_mpjpe_mm`, `lse`, `lle`, `bsle`; `pck`, `auc` (31
        thresholds) and `auc_30` (without the threshold 0) where the skeleton has joints for
        them; `NAME_mpjpe_mm` for each of its body parts.
    """
    return (
        *_position_measures(skeleton),
        *_length_measures(skeleton),
        *_threshold_measures(skeleton),
        *_part_measures(skeleton),
    )


def _position_measures(skeleton: Skeleton) -> list[Measure]:
    return [
        Measure("mpjpe_mm", lambda p, t: _all(joint_distances(p, t)), Unit.JOINT, skeleton.joints),
        Measure(
            "p_mpjpe_mm",
            lambda p, t: _all(joint_distances(procrustes_align(p, t), t)),
            Unit.JOINT,
            skeleton.joints,
        ),
        Measure(
            "n_mpjpe_mm",
            lambda p, t: _all(joint_distances(scale_align(p, t), t)),
            Unit.JOINT,
            skeleton.joints,
        ),
    ]


def _length_measures(skeleton: Skeleton) -> list[Measure]:
    pairs = tuple(
        f"{_segment_name(skeleton, left)}|{_segment_name(skeleton, right)}"
        for left, right in skeleton.limb_pairs
    )
    segments = tuple(_segment_name(skeleton, segment) for segment in skeleton.segments)
    return [
        Measure("lse", lambda p, _: _lengths(lse(p, skeleton)), Unit.LIMB_PAIR, pairs),
        # limb by limb, this is `bsle`
        Measure("lle", lambda p, t: _lengths(lle(p, t, skeleton))),
        Measure("bsle", lambda p, t: _lengths(bsle(p, t, skeleton)), Unit.SEGMENT, segments),
    ]


def _threshold_measures(skeleton: Skeleton) -> list[Measure]:
    if not skeleton.pck_joints:
        return []
    joints = list(skeleton.pck_joints)
    labels = tuple(skeleton.joints[joint] for joint in joints)

    def measure(name: str, to_thresholds: Callable[[Tensor], Tensor]) -> Measure:
        def compute(pred_mm: Tensor, target_mm: Tensor) -> Values:
            distances = joint_distances(pred_mm[:, joints], target_mm[:, joints])
            return _all(share_of_thresholds(distances, to_thresholds(distances)))

        return Measure(name, compute, Unit.JOINT, labels)

    return [
        measure("pck", lambda like: like.new_full((1,), PCK_THRESHOLD_MM)),
        measure("auc", auc_thresholds_mm),
        measure("auc_30", lambda like: auc_thresholds_mm(like, with_zero=False)),
    ]


def _part_measures(skeleton: Skeleton) -> list[Measure]:
    def measure(part: BodyPart) -> Measure:
        return Measure(f"{part.name}_mpjpe_mm", lambda p, t: _all(part_distances(p, t, part)))

    return [measure(part) for part in skeleton.parts]


def _segment_name(skeleton: Skeleton, segment: tuple[int, int]) -> str:
    start, end = segment
    return f"{skeleton.joints[start]}-{skeleton.joints[end]}"


def _all(values: Tensor) -> Values:
    return Values(values, torch.ones_like(values, dtype=torch.bool))


def _lengths(errors: LengthErrors) -> Values:
    return Values(errors.percent, errors.valid)
