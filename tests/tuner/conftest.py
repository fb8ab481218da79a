"""Runs as the study store would give them back, built by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tuner.protocol.selection import close_stage
from tuner.records import (
    OutcomeKind,
    StageResult,
    StudyHistory,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
    TrialState,
)

Histories = dict[str, StudyHistory]
BuildRun = Callable[..., Histories]

BASELINE_TEST = {
    "mpjpe_mm": 66.4,
    "p_mpjpe_mm": 48.25,
    "n_mpjpe_mm": 63.0,
    "action_mpjpe_mm": 67.5,
    "lse": 5.5,
    "lle": 6.25,
    "bsle": 7.0,
}
SEAL_TEST = {
    "mpjpe_mm": 62.178,
    "p_mpjpe_mm": 47.0,
    "n_mpjpe_mm": 60.5,
    "action_mpjpe_mm": 63.0,
    "lse": 4.4,
    "lle": 5.5,
    "bsle": 7.35,
}
RUN_CONFIG = {"backbone": "videopose", "dataset": "sample", "preset": "quick", "data_dir": None}
LR_P = (5e-4, 1e-3, 2e-3)
LR_L = (1e-4, 5e-4)
ALPHA = (1e-3, 5e-3)
LAST_ALPHA = (5e-4, 1e-3, 5e-3, 1e-2)


def objective(params: Mapping[str, float]) -> float:
    """A smooth bowl with its minimum at lr_p 1e-3, lr_l 5e-4, α 5e-3."""
    value = 60.0 + 3.0 * abs(math.log10(params["lr_p"] / 1e-3))
    if "lr_l" in params:
        value -= 4.0
        value += 2.0 * abs(math.log10(params["lr_l"] / 5e-4))
        value += abs(math.log10(params["alpha"] / 5e-3))
    return round(value, 3)


def finished(number: int, params: Mapping[str, float], source: str | None = None) -> TrialRecord:
    value = objective(params)
    outcome = TrialOutcome(
        trial=number,
        kind=OutcomeKind.COMPLETED,
        value=value,
        epochs=5,
        best_epoch=4,
        metrics={"val_mpjpe_mm": value, "val_p_mpjpe_mm": value - 15.0, "val_lse": 5.0},
        checkpoint=f"/data/checkpoints/{number}/best.pt",
        seconds=10.0,
        device_seconds=20.0,
        node="node-1",
    )
    return TrialRecord(
        number=number,
        spec=TrialSpec(base={"epochs": 5}, params=params, seed=number),
        state=TrialState.FINISHED,
        value=value,
        epochs=5,
        best_epoch=4,
        imported_from=source,
        outcome=outcome,
        mlflow_run_id=f"run{number}",
    )


def ended_badly(
    number: int, params: Mapping[str, float], state: TrialState, reason: str
) -> TrialRecord:
    kind = OutcomeKind.STOPPED_EARLY if state is TrialState.PRUNED else OutcomeKind.FAILED
    outcome = TrialOutcome(number, kind, epochs=2, seconds=4.0, device_seconds=8.0, reason=reason)
    spec = TrialSpec(base={"epochs": 5}, params=params, seed=number)
    return TrialRecord(number, spec, state, epochs=2, outcome=outcome)


def study(
    stage: str,
    tunes: Sequence[str],
    trials: Sequence[TrialRecord],
    *,
    closed: bool = True,
    attributes: Mapping[str, Any] | None = None,
) -> StudyHistory:
    result: StageResult | None = close_stage(stage, tunes[:1], trials) if closed else None
    distributions: dict[str, dict[str, Any]] = {
        name: {"low": 1e-5, "high": 1e-1, "log": True} for name in tunes
    }
    return StudyHistory(
        spec=StudySpec(run="demo", stage=stage, distributions=distributions, definition={}),
        trials=tuple(trials),
        result=result,
        attributes=attributes or {},
    )


def first_stage(attributes: Mapping[str, Any]) -> StudyHistory:
    trials = [finished(i, {"lr_p": value}) for i, value in enumerate(LR_P)]
    return study("1-lr_p", ["lr_p"], trials, attributes=attributes)


def second_stage() -> StudyHistory:
    points = itertools.product(LR_L, ALPHA)
    trials = [
        finished(i, {"lr_p": 1e-3, "lr_l": lr_l, "alpha": alpha})
        for i, (lr_l, alpha) in enumerate(points)
    ]
    return study("2-lr_l", ["lr_l", "alpha"], trials)


def third_stage(attributes: Mapping[str, Any]) -> StudyHistory:
    sources = {1e-3: "demo/2-lr_l#2", 5e-3: "demo/2-lr_l#3"}
    order = [*ALPHA, *(value for value in LAST_ALPHA if value not in ALPHA)]
    trials = [
        finished(i, {"lr_p": 1e-3, "lr_l": 5e-4, "alpha": alpha}, sources.get(alpha))
        for i, alpha in enumerate(order)
    ]
    return study("3-alpha", ["alpha"], trials, attributes=attributes)


def build(stages: int = 3, *, tested: bool = True) -> Histories:
    """The first `stages` stages, closed; `tested` adds the test metrics of a finished run."""
    first: dict[str, Any] = {"run_config": RUN_CONFIG}
    found = {"1-lr_p": first_stage(first)}
    if tested:
        found["1-lr_p"] = with_test(found["1-lr_p"], BASELINE_TEST)
    if stages >= 2:
        found["2-lr_l"] = second_stage()
    if stages >= 3:
        found["3-alpha"] = third_stage({})
        if tested:
            found["3-alpha"] = with_test(found["3-alpha"], SEAL_TEST)
    return found


def with_test(history: StudyHistory, metrics: Mapping[str, float]) -> StudyHistory:
    """The study with test metrics of its winner."""
    assert history.result is not None
    trials = list(history.trials)
    winner = history.result.winner
    trials[winner] = replace(trials[winner], test_metrics=metrics)
    return replace(history, trials=tuple(trials))


def build_open(*, failed: bool = False) -> Histories:
    """Stage 1 closed, stage 2 open; `failed`: each of its trials failed."""
    found = build(stages=1, tested=False)
    params = [{"lr_p": 1e-3, "lr_l": lr_l, "alpha": 1e-3} for lr_l in LR_L]
    bad = [ended_badly(i, p, TrialState.FAILED, "out of memory") for i, p in enumerate(params)]
    if not failed:
        running = TrialRecord(
            1,
            TrialSpec(base={"epochs": 5}, params=params[1], seed=1),
            TrialState.RUNNING,
            epochs=3,
        )
        pruned = ended_badly(3, params[0], TrialState.PRUNED, "stopped at epoch 2")
        bad = [bad[0], running, finished(2, params[1]), pruned]
    found["2-lr_l"] = study("2-lr_l", ["lr_l", "alpha"], bad, closed=False)
    return found


CONFIRM_SHIFTS_MM = (0.9, -0.4, 0.2, -1.1, 0.5, 0.0, 1.3, -0.7)
"""What a seed does to every candidate alike."""

CONFIRM_NOISE_MM = (0.2, -0.3, 0.1, 0.25, -0.15, 0.05, -0.2, 0.3)
"""What it does to the difference of two candidates."""


def repeated(number: int, source: TrialRecord, seed: int, mpjpe_mm: float) -> TrialRecord:
    """A trial of the confirm stage, finished and tested."""
    trial = finished(number, source.spec.params)
    assert trial.outcome is not None
    metrics = {"val_mpjpe_mm": mpjpe_mm - 6.0, "val_p_mpjpe_mm": mpjpe_mm - 20.0, "val_lse": 5.0}
    test = {"mpjpe_mm": mpjpe_mm, "p_mpjpe_mm": mpjpe_mm - 15.0, "n_mpjpe_mm": mpjpe_mm - 3.0}
    limbs = {"lse": mpjpe_mm / 12, "lle": mpjpe_mm / 11, "bsle": mpjpe_mm / 10}
    return replace(
        trial,
        spec=replace(source.spec, seed=seed),
        value=mpjpe_mm - 6.0,
        outcome=replace(trial.outcome, value=mpjpe_mm - 6.0, metrics=metrics),
        test_metrics={**test, **limbs},
    )


def confirm_stage(found: Histories, *, seeds: int, gain_mm: float) -> StudyHistory:
    """Baseline, winner and one runner-up with fresh seeds; the winner is better by `gain_mm`."""
    sources = (
        ("baseline", "1-lr_p", 1, 66.0, 0.0),
        ("winner", "3-alpha", 1, 66.0 - gain_mm, 1.0),
        ("runner-up 1", "3-alpha", 3, 66.1 - gain_mm, -1.0),
    )
    candidates = []
    trials: list[TrialRecord] = []
    for role, stage, number, _, _ in sources:
        spec = found[stage].trials[number].spec
        entry = {"role": role, "stage": stage, "trial": number, "params": dict(spec.params)}
        candidates.append({**entry, "configuration_key": spec.configuration_key})
    for repeat in range(seeds):
        for _, stage, number, level, factor in sources:
            value = level + CONFIRM_SHIFTS_MM[repeat] + factor * CONFIRM_NOISE_MM[repeat]
            source = found[stage].trials[number]
            trials.append(repeated(len(trials), source, 1000 + repeat, round(value, 3)))
    attributes = {"candidates": candidates}
    return study("4-confirm", [], trials, closed=False, attributes=attributes)


def check_stage(found: Histories, *, gain_mm: float) -> StudyHistory:
    """A joint search: the winner taken over, two worse points, one better by `gain_mm`."""
    winner = found["3-alpha"].trials[1]
    points = [(1e-3, 5e-4, 5e-3), (5e-4, 4e-4, 6e-3), (2e-3, 6e-4, 4e-3), (1.2e-3, 5e-4, 7e-3)]
    trials = []
    for number, (lr_p, lr_l, alpha) in enumerate(points):
        params = {"lr_p": lr_p, "lr_l": lr_l, "alpha": alpha}
        source = "demo/3-alpha#1" if number == 0 else None
        trials.append(finished(number, params, source))
    assert winner.value is not None
    trials[3] = replace(trials[3], value=round(winner.value - gain_mm, 3))
    return study("5-check", ["lr_p", "lr_l", "alpha"], trials)


def build_confirmed(
    seeds: int = 5, *, gain_mm: float = 4.0, check_gain_mm: float | None = None
) -> Histories:
    """A finished run with a confirmation, and a check if its gain is given."""
    found = build()
    found["4-confirm"] = confirm_stage(found, seeds=seeds, gain_mm=gain_mm)
    if check_gain_mm is not None:
        found["5-check"] = check_stage(found, gain_mm=check_gain_mm)
    return found


@pytest.fixture
def build_confirmed_run() -> BuildRun:
    return build_confirmed


@pytest.fixture
def build_run() -> BuildRun:
    return build


@pytest.fixture
def build_open_run() -> BuildRun:
    return build_open
