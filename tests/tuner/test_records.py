"""The identity of a trial."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.records import TrialSpec

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
