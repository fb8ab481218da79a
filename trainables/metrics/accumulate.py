"""Averages of pose metrics over a split, batch after batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainables.metrics.hypothesis_measures import HypothesisMeasures
from trainables.metrics.labels import PoseLabels
from trainables.metrics.measures import Measure, Unit, build_measures
from trainables.metrics.report import EvaluationReport, Row
from trainables.metrics.sums import GroupSums, ValueSums, counted_sums
from trainables.metrics.velocity import VELOCITY, VelocityErrors
from trainables.skeletons import Skeleton

__all__ = ["PoseMetrics"]

_MM_PER_M = 1000.0
# those of several hypotheses are what D3DP reports
_OVER_ACTIONS = ("mpjpe_mm", "p_mpjpe_mm", "j_best_mpjpe_mm", "j_best_p_mpjpe_mm")
_OVER_SEQUENCES = ("mpjpe_mm", "pck", "auc", "j_best_mpjpe_mm", "j_best_pck", "j_best_auc")


class PoseMetrics:
    """Accumulates the measures of `build_measures`, of scored frames only.

    Sums are kept in float64 on the device, and fetched by `compute` and `report` only.

    Args:
        skeleton: Skeleton of the poses.
        num_actions: How many actions there are.
        device: Where the poses are.
        detail: Whether sequences, joints, and steps between frames are measured too, for which
            poses must come in order of time.
        num_sequences: How many sequences there are; for `detail` only.
        frame_step: Distance of the numbers of consecutive frames, None for loose poses; for
            `detail` only.
        hypotheses: Measures of the hypotheses that predictions are the means of; None if there
            are none.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        num_actions: int,
        device: torch.device,
        detail: bool = False,
        num_sequences: int = 0,
        frame_step: int | None = 1,
        hypotheses: HypothesisMeasures | None = None,
    ) -> None:
        self._skeleton = skeleton
        self._hypotheses = hypotheses
        self._measures = build_measures(skeleton)
        self._detail: _Detail | None = None
        names = [measure.name for measure in self._measures]
        names += () if hypotheses is None else hypotheses.names
        if detail:
            names.append(VELOCITY)
            by_sequence = GroupSums(names, groups=num_sequences, device=device)
            self._detail = _Detail(skeleton, self._measures, by_sequence, frame_step)
        self._by_action = GroupSums(names, groups=num_actions, device=device)

    def update(
        self,
        pred: Tensor,
        target: Tensor,
        labels: PoseLabels,
        *,
        hypotheses: Tensor | None = None,
        on_screen: Tensor | None = None,
    ) -> None:
        """Add poses.

        Args:
            pred: Predicted joints, root-relative, metres, (N, J, 3), N > 0.
            target: Ground truth, same shape and unit.
            labels: Where the poses come from.
            hypotheses: Those that `pred` is the mean of, (H, N, J, 3); needed where these are
                measured.
            on_screen: Distances of their projections from the 2D input, (H, N, J), likewise,
                where they are projected.

        Raises:
            ShapeError: If the shapes of the poses differ.
            ValueError: If hypotheses are to be measured and are not given.
        """
        pred_mm = _MM_PER_M * pred.detach().double()
        target_mm = _MM_PER_M * target.detach().double()
        sums = {
            measure.name: counted_sums(measure.compute(pred_mm, target_mm), labels.valid)
            for measure in self._measures
        }
        if self._hypotheses is not None:
            if hypotheses is None or (on_screen is None and self._hypotheses.projects):
                raise ValueError("hypotheses are to be measured, but are not given")
            found = self._hypotheses.compute(
                pred_mm, _MM_PER_M * hypotheses.detach().double(), target_mm, on_screen
            )
            sums |= {name: counted_sums(values, labels.valid) for name, values in found.items()}
        if self._detail is not None:
            steps = self._detail.velocity.update(pred_mm, target_mm, labels)
            sums[VELOCITY] = counted_sums(steps, labels.valid)
        by_pose = torch.stack([values.sum(dim=2) for values in sums.values()], dim=1)
        self._by_action.add(by_pose, labels.action)
        if self._detail is not None:
            self._detail.add(sums, by_pose, labels.sequence)

    def compute(self) -> dict[str, float]:
        """Average what was added.

        Returns:
            Over all scored frames: `mpjpe_mm`, `p_mpjpe_mm`, `n_mpjpe_mm`; `lse`, `lle`, `bsle`,
            percent; where the skeleton has them, `pck`, `auc`, `auc_30`, percent, and
            `NAME_mpjpe_mm` of its body parts. Unweighted means over the actions seen:
            `action_mpjpe_mm`, `action_p_mpjpe_mm`. `poses`: frames scored; `segments_left_out`:
            their segments without length in the ground truth. NaN where nothing was added.

            With `detail`, also `mpjve_mm`, millimetres per frame, unless no two frames were
            consecutive; and, over the sequences seen, `sequence_mpjpe_mm`, `sequence_pck` and
            `sequence_auc`.

            Of hypotheses those of `HypothesisMeasures`, and of J-Best over actions and sequences.
        """
        by_action = self._by_action.fetch()
        over_actions = by_action.over_groups()
        poses = by_action.count("mpjpe_mm") / self._skeleton.num_joints
        segments = poses * len(self._skeleton.segments)
        figures = {
            **by_action.over_frames(),
            **{
                f"action_{name}": over_actions[name]
                for name in _OVER_ACTIONS
                if name in over_actions
            },
            "poses": poses,
            "segments_left_out": segments - by_action.count("bsle"),
        }
        if self._detail is not None:
            if by_action.count(VELOCITY) == 0:
                del figures[VELOCITY]
            over_sequences = self._detail.by_sequence.fetch().over_groups()
            names = [name for name in _OVER_SEQUENCES if name in over_sequences]
            figures |= {f"sequence_{name}": over_sequences[name] for name in names}
        return figures

    def report(
        self, *, action_names: Sequence[str], sequence_names: Sequence[str]
    ) -> EvaluationReport:
        """All figures, with tables by action, sequence, joint, segment and pair of limbs.

        Args:
            action_names: Names of the actions, by index.
            sequence_names: Names of the sequences, by index.

        Raises:
            ValueError: If the metrics were made without `detail`.
        """
        if self._detail is None:
            raise ValueError("a report needs PoseMetrics(..., detail=True)")
        by_action, by_sequence = self._by_action.fetch(), self._detail.by_sequence.fetch()
        joints = self._skeleton.num_joints
        return EvaluationReport(
            figures=self.compute(),
            overall=(
                Row("frames", by_action.over_frames()),
                Row("actions", by_action.over_groups()),
                Row("sequences", by_sequence.over_groups()),
            ),
            by_action=by_action.table(action_names, values_per_pose=joints),
            by_sequence=by_sequence.table(sequence_names, values_per_pose=joints),
            by_joint=self._detail.by_unit[Unit.JOINT].table(),
            by_segment=self._detail.by_unit[Unit.SEGMENT].table(),
            by_limb_pair=self._detail.by_unit[Unit.LIMB_PAIR].table(),
        )


class _Detail:
    """What only a report needs."""

    def __init__(
        self,
        skeleton: Skeleton,
        measures: Sequence[Measure],
        by_sequence: GroupSums,
        frame_step: int | None,
    ) -> None:
        self.velocity = VelocityErrors(frame_step)
        self.by_sequence = by_sequence
        units: dict[Unit, dict[str, tuple[str, ...]]] = {unit: {} for unit in Unit}
        for measure in measures:
            if measure.unit is not None:
                units[measure.unit][measure.name] = measure.labels
        units[Unit.JOINT][VELOCITY] = skeleton.joints
        self.by_unit = {unit: ValueSums(labels) for unit, labels in units.items()}

    def add(self, sums: Mapping[str, Tensor], by_pose: Tensor, sequence: Tensor) -> None:
        self.by_sequence.add(by_pose, sequence)
        for by_label in self.by_unit.values():
            by_label.add(sums)
