"""What is measured of several hypotheses of each pose, beside their mean (D3DP)."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.metrics.functional import joint_distances, procrustes_align
from trainables.metrics.hypotheses import select_j_agg, select_j_best, select_p_best
from trainables.metrics.measures import Values
from trainables.metrics.thresholds import PCK_THRESHOLD_MM, auc_thresholds_mm, share_of_thresholds
from trainables.skeletons import Skeleton

__all__ = ["HypothesisMeasures"]


class HypothesisMeasures:
    """Errors of the poses that D3DP's four rules make of the hypotheses of each pose.

    `p_agg`: their mean. `j_agg`: for each joint the hypothesis that reprojects nearest to the 2D
    input. `p_best`: the hypothesis nearest to the ground truth, pose by pose (its authors take
    the best of a whole evaluation batch). `j_best`: the nearest for each joint. The last two look
    at the ground truth, and fall with the number of hypotheses for free.

    Args:
        skeleton: Skeleton of the poses.
        projects: Whether reprojection errors are known; there is no `j_agg` without.
    """

    def __init__(self, skeleton: Skeleton, *, projects: bool) -> None:
        self._joints = list(skeleton.pck_joints)
        self.projects = projects
        rules = ("j_best", "p_best", *(("j_agg",) if projects else ()), "p_agg")
        self.names = tuple(
            f"{rule}_{kind}" for kind in ("mpjpe_mm", "p_mpjpe_mm") for rule in rules
        )
        if self._joints:
            self.names += ("j_best_pck", "j_best_auc")

    def compute(
        self, mean_mm: Tensor, hypotheses_mm: Tensor, target_mm: Tensor, on_screen: Tensor | None
    ) -> dict[str, Values]:
        """Measure poses.

        Args:
            mean_mm: Mean of the hypotheses, root-relative, millimetres, (N, J, 3), float64.
            hypotheses_mm: (H, N, J, 3).
            target_mm: Ground truth, (N, J, 3).
            on_screen: Distance of each joint's reprojection from the 2D input, (H, N, J); None
                unless `projects`.

        Returns:
            The measures `names`: `RULE_mpjpe_mm`, and `RULE_p_mpjpe_mm`, for which each
            hypothesis is aligned before the choice, which is that of `mpjpe_mm` for `j_agg`
            (and `p_agg` aligns the mean); where the skeleton has joints for them, `j_best_pck`
            and `j_best_auc`, percent.
        """
        repeated = target_mm.expand_as(hypotheses_mm)
        kinds = {
            "mpjpe_mm": (hypotheses_mm, mean_mm),
            "p_mpjpe_mm": (
                procrustes_align(hypotheses_mm, repeated),
                procrustes_align(mean_mm, target_mm),
            ),
        }
        errors = {}
        for kind, (candidates, mean) in kinds.items():
            chosen = {
                "j_best": select_j_best(candidates, target_mm),
                "p_best": select_p_best(candidates, target_mm),
                "p_agg": mean,
            }
            if on_screen is not None:
                chosen["j_agg"] = select_j_agg(candidates, on_screen)
            for rule, poses in chosen.items():
                errors[f"{rule}_{kind}"] = joint_distances(poses, target_mm)
        if self._joints:
            near = errors["j_best_mpjpe_mm"][:, self._joints]
            threshold = near.new_full((1,), PCK_THRESHOLD_MM)
            errors["j_best_pck"] = share_of_thresholds(near, threshold)
            errors["j_best_auc"] = share_of_thresholds(near, auc_thresholds_mm(near))
        return {
            name: Values(errors[name], torch.ones_like(errors[name], dtype=torch.bool))
            for name in self.names
        }
