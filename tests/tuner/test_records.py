"""The identity of a trial, and what figures may be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainables.config import DataConfig, TrainingConfig
from tuner.records import MeasuredOn, TrialSpec
from tuner.wiring.tracked import measured_on

BASE = {"backbone": "videopose", "epochs": 3, "data": {"stride": 1, "max_eval_poses": None}}
PARAMS = {"lr_p": 1e-3, "pair_weight": 0.0, "num_perturbations": 3}


def identity(base: dict[str, Any], params: dict[str, float], seed: int = 5) -> tuple[str, str]:
    spec = TrialSpec(base, params, seed=seed)
    return spec.fingerprint, spec.configuration_key


def test_where_a_field_stands_changes_no_identity() -> None:
    flat = {**BASE, **PARAMS}
    for name in PARAMS:
        moved = {key: value for key, value in PARAMS.items() if key != name}
        assert identity({**BASE, name: PARAMS[name]}, moved) == identity(BASE, PARAMS)
    assert identity(flat, {}) == identity({}, flat)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params", [{"num_perturbations": 3.0}, {"pair_weight": 0}, {"pair_weight": -0.0}]
)
def test_how_a_number_is_written_changes_no_identity(params: dict[str, float]) -> None:
    assert identity(BASE, {**PARAMS, **params}) == identity(BASE, PARAMS)
    inner = {**BASE, "data": {"stride": 1.0, "max_eval_poses": None}}
    assert identity(inner, PARAMS) == identity(BASE, PARAMS)


@pytest.mark.parametrize(
    ("base", "params"),
    [
        ({"epochs": 4}, {}),
        ({"data": {"stride": 2, "max_eval_poses": None}}, {}),
        ({"data": {"stride": True, "max_eval_poses": None}}, {}),
        ({}, {"lr_p": 1.0000001e-3}),
        ({}, {"num_perturbations": 3.5}),
    ],
)
def test_another_value_is_another_training(base: dict[str, Any], params: dict[str, float]) -> None:
    changed = identity({**BASE, **base}, {**PARAMS, **params})
    assert not set(changed) & set(identity(BASE, PARAMS))


def test_the_seed_is_part_of_the_result_only() -> None:
    (one, key), (other, same_key) = identity(BASE, PARAMS), identity(BASE, PARAMS, seed=6)
    assert one != other
    assert key == same_key


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        identity(BASE, {**PARAMS, "lr_p": float("nan")})


FULL = MeasuredOn("sample", "0a1b", "gt", None, "val", stride=1, max_poses=None)


@pytest.mark.parametrize(
    ("other", "fuller"),
    [
        ({}, False),
        ({"max_poses": 2000}, True),
        ({"stride": 5, "content_hash": "of every 5th frame"}, True),
        ({"stride": 5, "content_hash": "of every 5th frame", "max_poses": 10}, True),
        ({"max_poses": 2000, "content_hash": "of other data"}, False),
        ({"max_poses": 2000, "dataset": "h36m"}, False),
        ({"max_poses": 2000, "keypoints": "cpn"}, False),
        ({"max_poses": 2000, "joints": 16}, False),
    ],
)
def test_more_poses_of_the_same_data_are_fuller(other: dict[str, Any], fuller: bool) -> None:
    thinned = replace(FULL, **other)
    assert FULL.is_fuller_than(thinned) is fuller
    assert not thinned.is_fuller_than(FULL)
    assert MeasuredOn.from_text(thinned.to_text()) == thinned


def test_bounds_and_strides_that_differ_both_ways_are_not_compared() -> None:
    bounded = replace(FULL, max_poses=2000)
    strided = replace(FULL, stride=5, content_hash="of every 5th frame")
    assert not bounded.is_fuller_than(strided)
    assert not strided.is_fuller_than(bounded)
    assert bounded.is_fuller_than(replace(FULL, max_poses=1999))


@pytest.mark.parametrize("text", ["", "0a1b", "[]", "{}", '{"dataset": "sample"}'])
def test_a_text_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not say what a figure was measured on"):
        MeasuredOn.from_text(text)


def measured(data: dict[str, Any], **fields: Any) -> str:
    config = TrainingConfig(
        backbone="videopose", lr_p=1e-3, lr_l=1e-4, data=DataConfig(**data), **fields
    )
    return measured_on(config.model_dump(mode="json"))


def test_a_figure_is_of_its_poses_whatever_was_trained_on() -> None:
    data = {"content_hash": "0a1b", "keypoints": "gt"}
    assert MeasuredOn.from_text(measured(data)) == FULL
    assert measured({**data, "frames": 4}, epochs=7) == measured(data)
    bounded = MeasuredOn.from_text(measured({**data, "max_eval_poses": 2000}))
    assert FULL.is_fuller_than(bounded)
    assert measured(data, select_on="test") == ""
