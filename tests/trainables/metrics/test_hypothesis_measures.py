"""Figures of several hypotheses over a split, and what holds between them whatever they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.metrics.references import Array, Labels, distances, kabsch_align, to_tensor
from trainables.metrics import EvaluationReport, HypothesisMeasures, PoseMetrics
from trainables.skeletons import H36M_17, MPI_INF_3DHP_17, Skeleton

CPU = torch.device("cpu")
ACTIONS = ("sit", "walk")
SEQUENCES = ("S1 sit", "S1 walk", "S2 sit")
COUNT = 11
RULES = ("j_best", "p_best", "j_agg", "p_agg")


def make(seed: int, hypotheses: int = 4) -> tuple[Array, Array, Array]:
    """Hypotheses (H, N, 17, 3) and targets (N, 17, 3), metres; distances on the screen."""
    rng = np.random.default_rng(seed)
    target = 0.3 * rng.normal(size=(COUNT, 17, 3))
    spread = 0.1 * rng.normal(size=(hypotheses, COUNT, 17, 3))
    return target + spread, target, rng.uniform(size=(hypotheses, COUNT, 17))


def labels() -> Labels:
    sequence = torch.tensor([0] * 5 + [1] * 4 + [2] * 2)
    valid = torch.ones(COUNT, dtype=torch.bool)
    valid[[1, 6]] = False
    action = torch.tensor([0, 1, 0])[sequence]
    return Labels(action, sequence, torch.arange(COUNT), valid)


def report(
    hypotheses: Array,
    target: Array,
    on_screen: Array | None,
    *,
    skeleton: Skeleton = MPI_INF_3DHP_17,
    batch: int = 4,
) -> EvaluationReport:
    metrics = PoseMetrics(
        skeleton,
        num_actions=len(ACTIONS),
        device=CPU,
        detail=True,
        num_sequences=len(SEQUENCES),
        hypotheses=HypothesisMeasures(skeleton, projects=on_screen is not None),
    )
    candidates = to_tensor(hypotheses)
    for start in range(0, COUNT, batch):
        part = slice(start, start + batch)
        metrics.update(
            candidates[:, part].mean(dim=0),
            to_tensor(target[part]),
            Labels(*(values[part] for values in labels())),
            hypotheses=candidates[:, part],
            on_screen=None if on_screen is None else to_tensor(on_screen[:, part]),
        )
    return metrics.report(action_names=ACTIONS, sequence_names=SEQUENCES)


def errors_by_rule(
    hypotheses: Array, target: Array, on_screen: Array, *, align: bool
) -> dict[str, Array]:
    """Distances (N, J) in metres after each rule's choice, pose by pose."""
    found: dict[str, list[Array]] = {rule: [] for rule in RULES}
    for n, truth in enumerate(target):
        candidates = [kabsch_align(h[n], truth) if align else h[n] for h in hypotheses]
        errors = np.stack([distances(pose, truth) for pose in candidates])  # (H, J)
        joints = range(17)
        found["j_best"].append(errors.min(axis=0))
        found["p_best"].append(errors[errors.mean(axis=1).argmin()])
        found["j_agg"].append(np.array([errors[on_screen[:, n, j].argmin(), j] for j in joints]))
        mean = hypotheses[:, n].mean(axis=0)
        found["p_agg"].append(distances(kabsch_align(mean, truth) if align else mean, truth))
    return {rule: np.stack(rows) for rule, rows in found.items()}


@pytest.mark.parametrize("batch", [1, 4, COUNT])
def test_figures_equal_plain_loops_over_scored_frames(batch: int) -> None:
    hypotheses, target, on_screen = make(0)
    found = report(hypotheses, target, on_screen, batch=batch)
    scored = labels().valid.numpy()
    sequence = labels().sequence.numpy()
    plain = errors_by_rule(hypotheses, target, on_screen, align=False)
    aligned = errors_by_rule(hypotheses, target, on_screen, align=True)
    for rule in RULES:
        for name, errors in (("mpjpe_mm", plain), ("p_mpjpe_mm", aligned)):
            mean_mm = 1000 * errors[rule][scored].mean()
            assert found.figures[f"{rule}_{name}"] == pytest.approx(mean_mm, rel=1e-9), rule
    assert found.figures["p_agg_mpjpe_mm"] == found.figures["mpjpe_mm"]
    assert found.figures["p_agg_p_mpjpe_mm"] == found.figures["p_mpjpe_mm"]
    near = 1000 * plain["j_best"][:, :14]
    percent = 100 * (near < 150).mean(axis=1)
    area = 100 * np.mean([near < threshold for threshold in range(0, 151, 5)], axis=0).mean(axis=1)
    assert found.figures["j_best_pck"] == pytest.approx(percent[scored].mean())
    assert found.figures["j_best_auc"] == pytest.approx(area[scored].mean())
    of_pose = 1000 * plain["j_best"].mean(axis=1)
    groups = [scored & (sequence == index) for index in range(3)]
    sequences = [of_pose[group].mean() for group in groups]
    assert found.figures["sequence_j_best_mpjpe_mm"] == pytest.approx(np.mean(sequences))
    assert found.figures["sequence_j_best_pck"] == pytest.approx(
        np.mean([percent[group].mean() for group in groups])
    )
    actions = [of_pose[scored & (sequence == 1)].mean(), of_pose[scored & (sequence != 1)].mean()]
    assert found.figures["action_j_best_mpjpe_mm"] == pytest.approx(np.mean(actions))
    rows = {row.name: row.figures["j_best_mpjpe_mm"] for row in found.by_sequence}
    assert rows == pytest.approx(dict(zip(SEQUENCES, sequences, strict=True)))


def test_what_cannot_be_chosen_or_counted_is_left_out() -> None:
    hypotheses, target, on_screen = make(1)
    without = report(hypotheses, target, None).figures
    assert not [name for name in without if "j_agg" in name]
    whole = report(hypotheses, target, on_screen).figures
    assert without == {name: value for name, value in whole.items() if "j_agg" not in name}
    h36m = report(hypotheses, target, on_screen, skeleton=H36M_17).figures
    assert not [name for name in h36m if name.endswith(("pck", "auc"))]
    assert "j_best_mpjpe_mm" in h36m


def test_a_pose_that_is_not_finite_shows() -> None:
    hypotheses, target, on_screen = make(2)
    hypotheses[1, 0, 3] = np.nan
    figures = report(hypotheses, target, on_screen).figures
    for name in ("j_best_mpjpe_mm", "p_best_mpjpe_mm", "p_agg_mpjpe_mm", "j_best_p_mpjpe_mm"):
        assert np.isnan(figures[name]), name


def test_hypotheses_that_are_not_given_are_a_fault_of_the_caller() -> None:
    metrics = PoseMetrics(
        H36M_17,
        num_actions=2,
        device=CPU,
        hypotheses=HypothesisMeasures(H36M_17, projects=True),
    )
    poses = torch.zeros(COUNT, 17, 3)
    with pytest.raises(ValueError, match="not given"):
        metrics.update(poses, poses, labels())
    with pytest.raises(ValueError, match="not given"):
        metrics.update(poses, poses, labels(), hypotheses=poses.unsqueeze(0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6))
def test_choices_that_look_at_the_truth_are_never_worse(seed: int, count: int) -> None:
    hypotheses, target, on_screen = make(seed, count)
    figures = report(hypotheses, target, on_screen, batch=COUNT).figures
    scored = labels().valid.numpy()
    alone = [1000 * distances(h, target)[scored].mean() for h in hypotheses]
    for kind in ("mpjpe_mm", "p_mpjpe_mm"):
        best = figures[f"j_best_{kind}"]
        assert best <= figures[f"j_agg_{kind}"] * (1 + 1e-12)
        assert best <= figures[f"p_best_{kind}"] * (1 + 1e-12)
    assert figures["p_best_mpjpe_mm"] <= min(alone) * (1 + 1e-12)
    if count == 1:
        for rule in RULES:
            assert figures[f"{rule}_mpjpe_mm"] == pytest.approx(figures["mpjpe_mm"])
            assert figures[f"{rule}_p_mpjpe_mm"] == pytest.approx(figures["p_mpjpe_mm"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_more_hypotheses_never_raise_what_the_truth_chooses(seed: int) -> None:
    hypotheses, target, on_screen = make(seed, 5)
    found = [report(hypotheses[:h], target, on_screen[:h], batch=COUNT).figures for h in (2, 5)]
    for name in ("j_best_mpjpe_mm", "p_best_mpjpe_mm", "j_best_p_mpjpe_mm", "p_best_p_mpjpe_mm"):
        assert found[1][name] <= found[0][name] * (1 + 1e-12)


def test_another_order_of_the_hypotheses_changes_no_figure() -> None:
    hypotheses, target, on_screen = make(3)
    order = [2, 0, 3, 1]
    first = report(hypotheses, target, on_screen).figures
    second = report(hypotheses[order], target, on_screen[order]).figures
    assert second == pytest.approx(first, rel=1e-9)


def test_joints_for_the_share_of_near_ones_are_the_skeletons() -> None:
    narrow = replace(MPI_INF_3DHP_17, name="narrow", pck_joints=(3,))
    hypotheses, target, on_screen = make(4)
    found = report(hypotheses, target, on_screen, skeleton=narrow).figures
    error = errors_by_rule(hypotheses, target, on_screen, align=False)["j_best"][:, 3]
    expected = 100 * (1000 * error[labels().valid.numpy()] < 150).mean()
    assert found["j_best_pck"] == pytest.approx(expected)
