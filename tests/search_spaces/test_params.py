from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search_spaces.params import FloatParameter, range_faults


def test_a_grid_alone_gives_its_range_on_a_log_scale() -> None:
    parameter = FloatParameter.model_validate({"grid": [1e-3, 1e-5, 1e-4]})
    assert (parameter.low, parameter.high, parameter.log) == (1e-5, 1e-3, True)
    assert parameter.grid == (1e-3, 1e-5, 1e-4)


def test_a_grid_with_zero_is_on_a_linear_scale() -> None:
    parameter = FloatParameter.model_validate({"grid": [0, 1e-3]})
    assert (parameter.low, parameter.log) == (0.0, False)


def test_a_grid_may_decline_the_log_scale() -> None:
    assert not FloatParameter.model_validate({"grid": [1, 2], "log": False}).log


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    assert FloatParameter.model_validate({"grid": ["1e-3", 1e-2]}).grid == (1e-3, 1e-2)


def test_a_grid_of_one_is_allowed() -> None:
    parameter = FloatParameter.model_validate({"grid": [1e-3]})
    assert parameter.low == parameter.high == 1e-3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"low": 1, "high": 1}, r"must be below high = 1\.0"),
        ({"low": 2, "high": 1}, r"must be below high = 1\.0"),
        ({"low": 0, "high": 1, "log": True}, "must be > 0 on a log scale"),
        ({"low": 1, "high": math.inf}, "finite number"),
        ({"low": math.nan, "high": 1}, "finite number"),
        ({"low": True, "high": 2}, "expected a number"),
        ({"low": 1}, "Field required"),
        ({"grid": []}, "at least one value"),
        ({"grid": [1, 2, 1]}, "given twice"),
        ({"grid": [1, math.nan]}, "finite number"),
        ({"grid": [1, "abc"]}, "valid number"),
        ({"grid": 3}, "valid tuple"),
        ({"low": 1, "high": 2, "grid": [3]}, "must lie within"),
        ({"grid": [1, 2], "lg": True}, "Extra inputs"),
    ],
)
def test_bad_values_are_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FloatParameter.model_validate(value)


@pytest.mark.parametrize(
    ("name", "low", "refused"),
    [
        ("lr_p", 0.0, True),
        ("lr_p", 1e-9, False),
        ("lr_l", -1.0, True),
        ("alpha", 0.0, False),
        ("alpha", -1e-9, True),
        ("margin_scale", -1.0, False),
    ],
)
def test_the_name_decides_which_values_make_sense(name: str, low: float, refused: bool) -> None:
    assert bool(range_faults(name, FloatParameter(low=low, high=1.0))) is refused


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, unique=True))
def test_json_reads_back_equal(grid: list[float]) -> None:
    parameter = FloatParameter.model_validate({"grid": grid})
    assert FloatParameter.model_validate(parameter.model_dump(mode="json")) == parameter
    assert parameter.low <= min(grid)
    assert parameter.high >= max(grid)
