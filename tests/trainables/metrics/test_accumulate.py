"""Averages and tables against a grouping written plainly in NumPy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.metrics import references
from tests.trainables.metrics.references import Array, Labels, distances, random_poses, to_tensor
from trainables.metrics import EvaluationReport, PoseMetrics, Row
from trainables.skeletons import H36M_17, BodyPart, Skeleton

CPU = torch.device("cpu")
ACTIONS = ("sit", "unseen", "walk")
SEQUENCES = ("S1 sit 1", "S1 walk 1", "S1 unseen", "S2 sit 1", "S2 sit 2")
ACTION_OF = [0, 2, 1, 0, 0]
HANDS = BodyPart("hands_wrist", (((11, 12, 13), (13,)), ((15, 16), (16,))))
RICH = replace(H36M_17, name="rich", pck_joints=tuple(range(14)), parts=(HANDS,))
COUNT = 23


def make_labels() -> Labels:
    """Four of five sequences, gaps in two of them, frames that are not scored."""
    sequence = np.repeat([0, 1, 3, 4], [7, 9, 6, 1])
    frame = np.concatenate(
        [np.arange(7), [0, 1, 2, 5, 6, 7, 8, 20, 21], 100 + np.arange(6), [7]]
    )  # the last sequence seems to go on where the first ended
    valid = np.ones(COUNT, dtype=bool)
    valid[[3, 15, 16]] = False
    return Labels(
        torch.tensor([ACTION_OF[index] for index in sequence]),
        torch.tensor(sequence),
        torch.tensor(frame),
        torch.tensor(valid),
    )


def make_poses() -> tuple[Array, Array]:
    """Poses of about 0.2 m; two segments without length in the truth, one in a scored frame."""
    pred, target = (0.2 * poses for poses in random_poses(0, count=COUNT))
    pred = target + 0.5 * (pred - target)
    target[5, 13] = target[5, 12]
    target[15, 3] = target[15, 2]
    return pred, target


def accumulate(
    pred: Array, target: Array, labels: Labels, *, batch: int, skeleton: Skeleton, detail: bool
) -> PoseMetrics:
    metrics = PoseMetrics(
        skeleton,
        num_actions=len(ACTIONS),
        device=CPU,
        detail=detail,
        num_sequences=len(SEQUENCES),
    )
    for start in range(0, len(pred), batch):
        part = slice(start, start + batch)
        of_part = Labels(*(values[part] for values in labels))
        metrics.update(to_tensor(pred[part]), to_tensor(target[part]), of_part)
    return metrics


def report(pred: Array, target: Array, labels: Labels, *, batch: int = 5) -> EvaluationReport:
    metrics = accumulate(pred, target, labels, batch=batch, skeleton=RICH, detail=True)
    return metrics.report(action_names=ACTIONS, sequence_names=SEQUENCES)


def by_pose(pred_mm: Array, target_mm: Array) -> dict[str, list[float]]:
    """Values of one pose; their mean, over whatever poses, is the figure."""
    near = distances(pred_mm, target_mm)[:14]
    hands = [
        float(distances(pred_mm[joint] - pred_mm[origin], target_mm[joint] - target_mm[origin]))
        for joints, (origin,) in HANDS.groups
        for joint in joints
    ]
    limbs = tuple(segment for pair in RICH.limb_pairs for segment in pair)
    aligned = references.kabsch_align(pred_mm, target_mm)
    scaled = references.n_align(pred_mm, target_mm)
    return {
        "mpjpe_mm": distances(pred_mm, target_mm).tolist(),
        "p_mpjpe_mm": distances(aligned, target_mm).tolist(),
        "n_mpjpe_mm": distances(scaled, target_mm).tolist(),
        "lse": references.symmetry_errors(pred_mm, RICH),
        "lle": references.length_errors(pred_mm, target_mm, limbs),
        "bsle": references.length_errors(pred_mm, target_mm, RICH.segments),
        "pck": [100.0 * (error < 150) for error in near],
        "auc": [100.0 * (error < t) for error in near for t in range(0, 151, 5)],
        "auc_30": [100.0 * (error < t) for error in near for t in range(5, 151, 5)],
        "hands_wrist_mpjpe_mm": hands,
    }


def velocity_errors(
    pred: Array, target: Array, labels: Labels, wanted: Callable[[int], bool]
) -> list[float]:
    """Sequence by sequence: differences of runs of scored consecutive frames."""
    errors = []
    for n in range(1, len(pred)):
        same = labels.sequence[n] == labels.sequence[n - 1]
        next_frame = labels.frame[n] == labels.frame[n - 1] + 1
        if wanted(n) and same and next_frame and labels.valid[n] and labels.valid[n - 1]:
            steps = (
                np.diff(1000 * pred[n - 1 : n + 1], axis=0),
                np.diff(1000 * target[n - 1 : n + 1], axis=0),
            )
            errors += distances(*steps).ravel().tolist()
    return errors


def expected_figures(
    pred: Array, target: Array, labels: Labels, wanted: Callable[[int], bool] = lambda _: True
) -> dict[str, float]:
    """Means over the scored frames among those wanted."""
    values: dict[str, list[float]] = {}
    for n in range(len(pred)):
        if wanted(n) and labels.valid[n]:
            for name, figures in by_pose(1000 * pred[n], 1000 * target[n]).items():
                values.setdefault(name, []).extend(figures)
    values["mpjve_mm"] = velocity_errors(pred, target, labels, wanted)
    return {name: float(np.mean(v)) if v else math.nan for name, v in values.items()}


def expected_rows(
    pred: Array, target: Array, labels: Labels, groups: Tensor, names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    rows = {}
    for index, name in enumerate(names):
        members = (groups == index).tolist()
        scored = int((torch.tensor(members) & labels.valid).sum())
        if scored:
            figures = expected_figures(pred, target, labels, members.__getitem__)
            rows[name] = {**figures, "poses": float(scored)}
    return rows


def assert_table(table: tuple[Row, ...], expected: dict[str, dict[str, float]]) -> None:
    assert [row.name for row in table] == list(expected)
    for row in table:
        assert row.figures == pytest.approx(expected[row.name], rel=1e-9, nan_ok=True)


def mean_of(rows: dict[str, dict[str, float]], name: str) -> float:
    return float(np.nanmean([row[name] for row in rows.values()]))


@pytest.mark.parametrize("batch", [1, 4, 5, COUNT, 100])
def test_report_equals_numpy_whatever_the_batches(batch: int) -> None:
    pred, target = make_poses()
    labels = make_labels()
    result = report(pred, target, labels, batch=batch)
    actions = expected_rows(pred, target, labels, labels.action, ACTIONS)
    sequences = expected_rows(pred, target, labels, labels.sequence, SEQUENCES)
    assert list(actions) == ["sit", "walk"]
    assert list(sequences) == [name for name in SEQUENCES if name != "S1 unseen"]
    assert math.isnan(sequences["S2 sit 2"]["mpjve_mm"])  # of one frame
    assert_table(result.by_action, actions)
    assert_table(result.by_sequence, sequences)
    frames = expected_figures(pred, target, labels)
    expected = {
        "frames": frames,
        "actions": {name: mean_of(actions, name) for name in frames},
        "sequences": {name: mean_of(sequences, name) for name in frames},
    }
    assert_table(result.overall, expected)
    flat = frames | {
        "action_mpjpe_mm": expected["actions"]["mpjpe_mm"],
        "action_p_mpjpe_mm": expected["actions"]["p_mpjpe_mm"],
        "sequence_mpjpe_mm": expected["sequences"]["mpjpe_mm"],
        "sequence_pck": expected["sequences"]["pck"],
        "sequence_auc": expected["sequences"]["auc"],
        "poses": 20.0,
        "segments_left_out": 1.0,
    }
    assert result.figures == pytest.approx(flat, rel=1e-9)


def test_tables_by_joint_and_segment_equal_numpy() -> None:
    pred, target = make_poses()
    labels = make_labels()
    result = report(pred, target, labels)
    scored = np.flatnonzero(labels.valid.numpy())
    values = [by_pose(1000 * pred[n], 1000 * target[n]) for n in scored]
    steps = np.reshape(velocity_errors(pred, target, labels, lambda _: True), (-1, 17))
    assert [row.name for row in result.by_joint] == list(H36M_17.joints)
    for joint, row in enumerate(result.by_joint):
        expected = {
            name: np.mean([pose[name][joint] for pose in values])
            for name in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm")
        }
        expected["mpjve_mm"] = steps[:, joint].mean()
        if joint < 14:
            expected["pck"] = np.mean([pose["pck"][joint] for pose in values])
            for name, size in (("auc", 31), ("auc_30", 30)):
                grid = slice(joint * size, (joint + 1) * size)
                expected[name] = np.mean([pose[name][grid] for pose in values])
        assert row.figures == pytest.approx(expected, rel=1e-9)
    by_segment = {row.name: row.figures for row in result.by_segment}
    assert len(by_segment) == 16
    for segment in H36M_17.segments:
        errors = [
            references.length_errors(pred[n], target[n], (segment,)) for n in scored
        ]  # empty where the truth has no length
        name = "-".join(H36M_17.joints[joint] for joint in segment)
        assert by_segment[name]["bsle"] == pytest.approx(np.mean(np.concatenate(errors)), rel=1e-9)
    forearms = result.by_limb_pair[1]
    assert forearms.name == "l_elbow-l_wrist|r_elbow-r_wrist"
    assert forearms.figures["lse"] == pytest.approx(np.mean([pose["lse"][1] for pose in values]))


def test_without_detail_the_same_figures_but_those_of_sequences() -> None:
    pred, target = make_poses()
    labels = make_labels()
    full = report(pred, target, labels).figures
    metrics = accumulate(pred, target, labels, batch=4, skeleton=RICH, detail=False)
    figures = metrics.compute()
    assert set(full) - set(figures) == {
        *("mpjve_mm", "sequence_mpjpe_mm", "sequence_pck", "sequence_auc")
    }
    assert figures == pytest.approx({name: full[name] for name in figures}, rel=1e-12)
    with pytest.raises(ValueError, match="detail=True"):
        metrics.report(action_names=ACTIONS, sequence_names=SEQUENCES)


def test_a_skeleton_without_pck_and_parts_has_the_names_it_always_had() -> None:
    pred, target = make_poses()
    metrics = accumulate(pred, target, make_labels(), batch=9, skeleton=H36M_17, detail=False)
    assert set(metrics.compute()) == {
        *("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "action_mpjpe_mm", "action_p_mpjpe_mm"),
        *("lse", "lle", "bsle", "poses", "segments_left_out"),
    }


def test_frames_that_are_not_scored_change_nothing() -> None:
    pred, target = make_poses()
    labels = make_labels()
    expected = report(pred, target, labels)
    pred[~labels.valid.numpy()] = np.nan
    target[~labels.valid.numpy()] = np.inf
    assert report(pred, target, labels).to_json() == expected.to_json()


def test_a_pose_of_nan_shows_in_all_that_it_is_part_of_and_nowhere_else() -> None:
    pred, target = make_poses()
    labels = make_labels()
    expected = report(pred, target, labels)
    pred[8, 2] = np.nan  # of "S1 walk 1"
    result = report(pred, target, labels)
    assert math.isnan(result.figures["mpjpe_mm"])
    assert math.isnan(result.figures["pck"])
    assert math.isnan(result.figures["action_mpjpe_mm"])
    for row, before in zip(result.by_sequence, expected.by_sequence, strict=True):
        if row.name == "S1 walk 1":
            assert math.isnan(row.figures["mpjve_mm"])
        else:
            assert row.figures == pytest.approx(before.figures, nan_ok=True)


def test_thinned_frames_have_no_velocity_and_no_figure_that_is_not_finite() -> None:
    pred, target = (poses[::3] for poses in make_poses())
    labels = Labels(*(values[::3] for values in make_labels()))
    result = report(pred, target, labels)
    assert "mpjve_mm" not in result.figures
    assert all(math.isfinite(value) for value in result.figures.values())


def test_nothing_added_is_nan() -> None:
    for detail in (False, True):
        metrics = PoseMetrics(RICH, num_actions=2, device=CPU, detail=detail, num_sequences=3)
        figures = metrics.compute()
        assert figures.pop("poses") == figures.pop("segments_left_out") == 0.0
        assert "mpjve_mm" not in figures
        assert figures
        assert all(math.isnan(value) for value in figures.values())


def test_json_is_strict_and_keeps_sequences_of_one_name_apart() -> None:
    pred, target = make_poses()
    metrics = accumulate(pred, target, make_labels(), batch=9, skeleton=RICH, detail=True)
    result = metrics.report(action_names=ACTIONS, sequence_names=["same"] * 5).to_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [row["name"] for row in result["by_sequence"]] == ["same"] * 4
    assert [row["poses"] for row in result["by_sequence"]] == [6.0, 8.0, 5.0, 1.0]
    assert result["by_sequence"][3]["mpjve_mm"] is None
