"""Errors of several hypotheses against plain loops, and what must hold between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.trainables.metrics.references import Array, distances, kabsch_align, to_tensor
from trainables.errors import ShapeError
from trainables.metrics import (
    j_agg,
    j_best,
    mpjpe,
    p_agg,
    p_best,
    p_mpjpe,
    pck,
    select_j_agg,
    select_j_best,
    select_p_best,
)

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


def make(seed: int, hypotheses: int = 5, poses: int = 4) -> tuple[Array, Array, Array]:
    """Hypotheses (H, N, 17, 3), targets (N, 17, 3), reprojection errors (H, N, 17)."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(poses, 17, 3))
    spread = 0.4 * rng.normal(size=(hypotheses, poses, 17, 3))
    return target + spread, target, rng.uniform(size=(hypotheses, poses, 17))


@pytest.mark.parametrize("align", [False, True])
def test_equal_plain_loops(align: bool) -> None:
    hypotheses, target, reprojection = make(0)
    expected: dict[str, list[float]] = {"j_best": [], "p_best": [], "j_agg": [], "p_agg": []}
    for n, t in enumerate(target):
        poses = [kabsch_align(h[n], t) if align else h[n] for h in hypotheses]
        errors = np.stack([distances(pose, t) for pose in poses])  # (H, J)
        chosen = [errors[reprojection[:, n, j].argmin(), j] for j in range(17)]
        mean = hypotheses[:, n].mean(axis=0)
        expected["j_best"].append(float(np.mean([min(errors[:, j]) for j in range(17)])))
        expected["p_best"].append(min(float(row.mean()) for row in errors))
        expected["j_agg"].append(float(np.mean(chosen)))
        expected["p_agg"].append(
            float(distances(kabsch_align(mean, t) if align else mean, t).mean())
        )
    h, t, r = to_tensor(hypotheses), to_tensor(target), to_tensor(reprojection)
    np.testing.assert_allclose(j_best(h, t, align=align), expected["j_best"], rtol=1e-9)
    np.testing.assert_allclose(p_best(h, t, align=align), expected["p_best"], rtol=1e-9)
    np.testing.assert_allclose(j_agg(h, t, r, align=align), expected["j_agg"], rtol=1e-9)
    np.testing.assert_allclose(p_agg(h, t, align=align), expected["p_agg"], rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, align=st.booleans())
def test_the_order_that_must_hold(seed: int, align: bool) -> None:
    h, t, r = (to_tensor(array) for array in make(seed))
    best_joint, best_pose = j_best(h, t, align=align), p_best(h, t, align=align)
    metric = p_mpjpe if align else mpjpe
    single = metric(h, t.expand_as(h))
    slack = 1e-12
    assert (best_joint <= best_pose + slack).all()
    assert (best_pose <= single.min(dim=0).values + slack).all()
    assert (best_joint <= j_agg(h, t, r, align=align) + slack).all()
    if not align:  # a distance is convex; aligned, no such order holds
        assert (p_agg(h, t) <= single.mean(dim=0) + slack).all()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.1, 10.0), shift=st.floats(-3.0, 3.0))
def test_aligned_errors_ignore_similarities_of_all_hypotheses(
    seed: int, scale: float, shift: float
) -> None:
    hypotheses, target, reprojection = make(seed)
    turn = Rotation.random(random_state=seed % 1000).as_matrix().T
    h, moved = to_tensor(hypotheses), to_tensor(scale * hypotheses @ turn + shift)
    t, r = to_tensor(target), to_tensor(reprojection)
    for metric in (j_best, p_best, p_agg):
        result = metric(moved, t, align=True)
        torch.testing.assert_close(result, metric(h, t, align=True), rtol=1e-7, atol=1e-9)
    result = j_agg(moved, t, r, align=True)
    torch.testing.assert_close(result, j_agg(h, t, r, align=True), rtol=1e-7, atol=1e-9)
    assert not torch.allclose(j_best(moved + 1.0, t), j_best(h, t))


def test_the_order_of_hypotheses_changes_nothing() -> None:
    h, t, r = (to_tensor(array) for array in make(1))
    order = torch.tensor([3, 1, 4, 0, 2])
    for metric in (j_best, p_best, p_agg):
        torch.testing.assert_close(metric(h[order], t), metric(h, t))
    torch.testing.assert_close(j_agg(h[order], t, r[order]), j_agg(h, t, r))


def test_one_hypothesis_is_itself() -> None:
    h, t, r = (to_tensor(array) for array in make(2, hypotheses=1))
    for result in (j_best(h, t), p_best(h, t), p_agg(h, t), j_agg(h, t, r)):
        torch.testing.assert_close(result, mpjpe(h[0], t), rtol=0, atol=0)


def test_a_hand_case_with_two_joints_and_frames_before_poses() -> None:
    target = torch.zeros(1, 1, 2, 3)
    h = torch.zeros(2, 1, 1, 2, 3)
    h[0, 0, 0, :, 0] = torch.tensor([1.0, 6.0])
    h[1, 0, 0, :, 0] = torch.tensor([-3.0, -2.0])
    reprojection = torch.tensor([[0.5, 0.1], [0.2, 0.9]]).view(2, 1, 1, 2)
    assert j_best(h, target).tolist() == [[1.5]]
    assert p_best(h, target).tolist() == [[2.5]]
    assert j_agg(h, target, reprojection).tolist() == [[4.5]]
    assert p_agg(h, target).tolist() == [[1.5]]
    assert select_p_best(h, target)[0, 0, :, 0].tolist() == [-3.0, -2.0]
    assert select_j_best(h, target)[0, 0, :, 0].tolist() == [1.0, -2.0]
    assert select_j_agg(h, reprojection)[0, 0, :, 0].tolist() == [-3.0, 6.0]
    assert pck(select_p_best(h, target), target, joints=[0, 1], threshold_mm=3).tolist() == [
        [50.0]
    ]


def test_a_hypothesis_of_nan_is_not_passed_over() -> None:
    h, t, _ = (to_tensor(array) for array in make(3))
    h[2, 1, 5] = torch.nan
    for metric in (j_best, p_best, p_agg):
        assert metric(h, t).isnan().tolist() == [False, True, False, False]


def test_shapes_that_do_not_fit_are_refused() -> None:
    h, t, r = (to_tensor(array) for array in make(4))
    for metric in (j_best, p_best, p_agg):
        with pytest.raises(ShapeError, match=r"\(5, 4, 17, 3\) and \(3, 17, 3\)"):
            metric(h, t[:3])
        with pytest.raises(ShapeError, match="at least one hypothesis"):
            metric(h[:0], t)
    with pytest.raises(ShapeError, match=r"reprojection errors \(5, 4, 17\).*got \(5, 4, 16\)"):
        j_agg(h, t, r[..., :16])
