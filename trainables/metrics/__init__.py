"""Pose metrics: pure functions, and their averages over a split."""

from trainables.metrics.accumulate import PoseMetrics
from trainables.metrics.functional import (
    LengthErrors,
    bsle,
    joint_distances,
    lle,
    lse,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    procrustes_align,
    scale_align,
    segment_lengths,
)
from trainables.metrics.hypotheses import (
    j_agg,
    j_best,
    p_agg,
    p_best,
    select_j_agg,
    select_j_best,
    select_p_best,
)
from trainables.metrics.hypothesis_measures import HypothesisMeasures
from trainables.metrics.labels import PoseLabels
from trainables.metrics.parts import part_mpjpe
from trainables.metrics.report import EvaluationReport, Row, Table
from trainables.metrics.thresholds import auc, pck

__all__ = [
    "EvaluationReport",
    "HypothesisMeasures",
    "LengthErrors",
    "PoseLabels",
    "PoseMetrics",
    "Row",
    "Table",
    "auc",
    "bsle",
    "j_agg",
    "j_best",
    "joint_distances",
    "lle",
    "lse",
    "mpjpe",
    "mpjve",
    "n_mpjpe",
    "p_agg",
    "p_best",
    "p_mpjpe",
    "part_mpjpe",
    "pck",
    "procrustes_align",
    "scale_align",
    "segment_lengths",
    "select_j_agg",
    "select_j_best",
    "select_p_best",
]
