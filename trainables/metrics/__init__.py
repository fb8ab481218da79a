"""Pose metrics: pure functions, and their averages over a split."""

from trainables.metrics.accumulate import PoseMetrics
from trainables.metrics.functional import (
    LengthErrors,
    bsle,
    lle,
    lse,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    procrustes_align,
    segment_lengths,
)

__all__ = [
    "LengthErrors",
    "PoseMetrics",
    "bsle",
    "lle",
    "lse",
    "mpjpe",
    "n_mpjpe",
    "p_mpjpe",
    "procrustes_align",
    "segment_lengths",
]
