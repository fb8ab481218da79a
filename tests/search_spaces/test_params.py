from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search_spaces import FloatParameter, IntParameter
from search_spaces.params import parse_parameter, range_faults


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
        ("alpha", 0.0, True),
        ("alpha", -1e-9, True),
        ("margin_scale", 0.0, True),
        ("pair_weight", 0.0, False),
        ("window_weight", -1e-9, True),
        ("perturbation_radius", 0.0, True),
        ("beta", -1.0, False),
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


def test_the_name_or_the_type_asks_for_whole_numbers() -> None:
    by_name = parse_parameter("num_perturbations", {"low": 2, "high": 8})
    assert by_name == IntParameter(low=2, high=8)
    by_type = parse_parameter("margin_scale", {"low": 1, "high": 2, "type": "int"})
    assert by_type == IntParameter(low=1, high=2)
    assert parse_parameter("margin_scale", {"low": 1, "high": 2}) == FloatParameter(low=1, high=2)


def test_a_grid_of_whole_numbers_gives_its_range_on_a_linear_scale() -> None:
    parameter = IntParameter.model_validate({"grid": [5, 2.0, "3"]})
    assert (parameter.low, parameter.high, parameter.log) == (2, 5, False)
    assert parameter.grid == (5, 2, 3)
    assert all(type(value) is int for value in parameter.grid)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"low": 1.5, "high": 2}, "fractional part"),
        ({"grid": [1, 2.5]}, "grid.1\n.*fractional part"),
        ({"grid": ["x"]}, "valid integer"),
        ({"grid": [math.inf]}, "finite number"),
        ({"low": True, "high": 2}, "expected a number"),
        ({"low": 2, "high": 2}, "must be below high = 2"),
        ({"low": 0, "high": 2, "log": True}, "must be > 0 on a log scale"),
        ({"low": 1, "high": 2, "grid": [3]}, "must lie within low = 1 and high = 2"),
        ({"grid": [2, 2.0]}, "given twice"),
        ({"low": 1, "high": 2, "type": "float"}, "type"),
    ],
)
def test_what_is_no_range_of_whole_numbers_is_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse_parameter("num_perturbations", value)


def test_no_perturbation_at_all_is_refused() -> None:
    faults = range_faults("num_perturbations", IntParameter(low=0, high=3))
    assert str(faults[0]["type"]) == "must be >= 1, being the number of negatives"
    assert not range_faults("num_perturbations", IntParameter(low=1, high=3))


whole_numbers = st.integers(-(10**9), 10**9)


@given(st.lists(whole_numbers, min_size=1, unique=True))
def test_whole_numbers_read_back_equal_from_json(grid: list[int]) -> None:
    parameter = IntParameter.model_validate({"grid": grid})
    again = parse_parameter("margin_scale", parameter.model_dump(mode="json"))
    assert again == parameter
    assert type(again) is IntParameter
    assert (parameter.low, parameter.high) == (min(grid), max(grid))
    assert list(parameter.grid or ()) == grid


@given(whole_numbers, whole_numbers, st.booleans())
def test_every_range_of_whole_numbers_is_kept_or_refused(low: int, high: int, log: bool) -> None:
    sound = low < high and (low > 0 or not log)
    try:
        parameter = IntParameter(low=low, high=high, log=log)
    except ValidationError:
        assert not sound
    else:
        assert sound
        assert (parameter.low, parameter.high, parameter.log) == (low, high, log)
