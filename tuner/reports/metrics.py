"""The metrics of reports: their names for people, and what they mean (pure)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes:
        key: Its name in results.
        label: Its name for people.
        unit: Its unit.
        meaning: One line for people.
        charted: Whether it has a bar in the comparison; the table has all.
        higher_is_better: Whether it counts what is right; the others are errors.
    """

    key: str
    label: str
    unit: str
    meaning: str
    charted: bool = True
    higher_is_better: bool = False


METRICS: tuple[Metric, ...] = (
    Metric("mpjpe_mm", "MPJPE", "mm", "mean distance between predicted and true joints"),
    Metric("p_mpjpe_mm", "P-MPJPE", "mm", "the same after rotating, moving and scaling to fit"),
    Metric("n_mpjpe_mm", "N-MPJPE", "mm", "the same after scaling to fit"),
    Metric(
        "action_mpjpe_mm",
        "MPJPE, mean of actions",
        "mm",
        "MPJPE of each action, then the mean of these: every action counts the same",
    ),
    Metric(
        "action_p_mpjpe_mm",
        "P-MPJPE, mean of actions",
        "mm",
        "the same average of P-MPJPE",
        charted=False,
    ),
    Metric(
        "sequence_mpjpe_mm",
        "MPJPE, mean of sequences",
        "mm",
        "every sequence counts the same",
        charted=False,
    ),
    Metric(
        "mpjve_mm",
        "MPJVE",
        "mm",
        "error of each joint's movement from one frame to the next",
        charted=False,
    ),
    Metric(
        "j_best_mpjpe_mm",
        "MPJPE, J-Best",
        "mm",
        "of several hypotheses the one nearest to the truth, joint by joint: looks at the truth",
    ),
    Metric(
        "j_best_p_mpjpe_mm",
        "P-MPJPE, J-Best",
        "mm",
        "the same choice, each hypothesis first fitted to the truth",
        charted=False,
    ),
    Metric(
        "p_best_mpjpe_mm",
        "MPJPE, P-Best",
        "mm",
        "of several hypotheses the one nearest to the truth, pose by pose: looks at the truth",
        charted=False,
    ),
    Metric(
        "p_best_p_mpjpe_mm",
        "P-MPJPE, P-Best",
        "mm",
        "the same choice, each hypothesis first fitted to the truth",
        charted=False,
    ),
    Metric(
        "j_agg_mpjpe_mm",
        "MPJPE, J-Agg",
        "mm",
        "of several hypotheses the one that projects nearest to the 2D input, joint by joint",
        charted=False,
    ),
    Metric(
        "j_agg_p_mpjpe_mm",
        "P-MPJPE, J-Agg",
        "mm",
        "the same choice, then fitted to the truth",
        charted=False,
    ),
    Metric(
        "p_agg_mpjpe_mm",
        "MPJPE, P-Agg",
        "mm",
        "mean of several hypotheses: the same as MPJPE",
        charted=False,
    ),
    Metric(
        "p_agg_p_mpjpe_mm",
        "P-MPJPE, P-Agg",
        "mm",
        "mean of several hypotheses: the same as P-MPJPE",
        charted=False,
    ),
    Metric(
        "action_j_best_mpjpe_mm",
        "MPJPE, J-Best, mean of actions",
        "mm",
        "J-Best MPJPE of each action, then the mean of these",
        charted=False,
    ),
    Metric(
        "action_j_best_p_mpjpe_mm",
        "P-MPJPE, J-Best, mean of actions",
        "mm",
        "the same average of J-Best P-MPJPE",
        charted=False,
    ),
    Metric(
        "sequence_j_best_mpjpe_mm",
        "MPJPE, J-Best, mean of sequences",
        "mm",
        "every sequence counts the same",
        charted=False,
    ),
    Metric("pck", "PCK", "%", "share of joints within 150 mm of the truth", higher_is_better=True),
    Metric(
        "auc",
        "AUC",
        "%",
        "mean PCK at 31 distances from 0 to 150 mm",
        higher_is_better=True,
    ),
    Metric(
        "auc_30",
        "AUC without 0 mm",
        "%",
        "mean PCK at the 30 distances from 5 to 150 mm",
        charted=False,
        higher_is_better=True,
    ),
    Metric(
        "sequence_pck",
        "PCK, mean of sequences",
        "%",
        "every sequence counts the same",
        charted=False,
        higher_is_better=True,
    ),
    Metric(
        "sequence_auc",
        "AUC, mean of sequences",
        "%",
        "every sequence counts the same",
        charted=False,
        higher_is_better=True,
    ),
    Metric(
        "j_best_pck",
        "PCK, J-Best",
        "%",
        "PCK of the hypotheses nearest to the truth, joint by joint",
        charted=False,
        higher_is_better=True,
    ),
    Metric(
        "j_best_auc",
        "AUC, J-Best",
        "%",
        "AUC of the hypotheses nearest to the truth, joint by joint",
        charted=False,
        higher_is_better=True,
    ),
    Metric(
        "sequence_j_best_pck",
        "PCK, J-Best, mean of sequences",
        "%",
        "every sequence counts the same",
        charted=False,
        higher_is_better=True,
    ),
    Metric(
        "sequence_j_best_auc",
        "AUC, J-Best, mean of sequences",
        "%",
        "every sequence counts the same",
        charted=False,
        higher_is_better=True,
    ),
    Metric("lse", "LSE", "%", "difference in length between left and right limbs"),
    Metric("lle", "LLE", "%", "error of limb lengths"),
    Metric("bsle", "BSLE", "%", "error of the lengths of all body segments"),
)
"""Metrics of the comparison, in order; those that a run does not have are left out."""
