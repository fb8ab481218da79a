"""Typed hyperparameters with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

__all__ = [
    "NON_NEGATIVE_PARAMETERS",
    "POSITIVE_PARAMETERS",
    "FloatParameter",
    "fault",
    "range_faults",
]

POSITIVE_PARAMETERS = frozenset({"lr_p", "lr_l"})
"""Learning rates: zero would train nothing and look like a result (Algorithm 1)."""

NON_NEGATIVE_PARAMETERS = frozenset({"alpha"})
"""The energy's weight; 0 is the baseline, a negative one would reward implausible poses."""


def fault(location: tuple[str | int, ...], found: object, message: str) -> InitErrorDetails:
    """One line of a validation error: where, what was found, and what was expected."""
    # braces are pydantic's placeholders
    text = message.replace("{", "(").replace("}", ")")
    return InitErrorDetails(
        type=PydanticCustomError("search_space", text),
        loc=location,
        input=found,
    )


def _refuse_bool(value: object) -> object:
    """Pydantic would read `true` as 1.0."""
    if isinstance(value, bool):
        raise PydanticCustomError("search_space", "expected a number")
    return value


Number = Annotated[float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False)]


class FloatParameter(BaseModel):
    """A real-valued hyperparameter: a range, and optionally a grid of values within it.

    With only `grid` given, the range is the grid's, on a log scale if all values are positive.

    Attributes:
        low: Smallest value, inclusive.
        high: Largest value, inclusive; equal to `low` only for a grid of one value.
        log: Whether samplers see the logarithm.
        grid: Values to enumerate, in the order in which they are tried; None for a range only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Number
    high: Number
    log: bool = False
    grid: tuple[Number, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _derive_range(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or value.get("grid") is None:
            return value
        if "low" in value or "high" in value:
            return value
        try:
            numbers = [float(item) for item in value["grid"]]
        except (TypeError, ValueError):
            numbers = []  # the field's own check names the bad value
        low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
        return {"log": low > 0, **value, "low": low, "high": high}

    @model_validator(mode="after")
    def _check(self) -> FloatParameter:
        faults = [*self._bound_faults(), *self._grid_faults()]
        if faults:
            raise ValidationError.from_exception_data("FloatParameter", faults)
        return self

    def _bound_faults(self) -> list[InitErrorDetails]:
        faults = []
        single = self.grid is not None and len(self.grid) == 1
        if self.low > self.high or (self.low == self.high and not single):
            faults.append(fault(("low",), self.low, f"must be below high = {self.high!r}"))
        if self.log and self.low <= 0:
            faults.append(fault(("low",), self.low, "must be > 0 on a log scale"))
        return faults

    def _grid_faults(self) -> list[InitErrorDetails]:
        if self.grid is None:
            return []
        if not self.grid:
            return [fault(("grid",), [], "must hold at least one value")]
        faults = []
        for index, item in enumerate(self.grid):
            if not self.low <= item <= self.high:
                expected = f"must lie within low = {self.low!r} and high = {self.high!r}"
                faults.append(fault(("grid", index), item, expected))
            if item in self.grid[:index]:
                faults.append(fault(("grid", index), item, "is given twice; remove one"))
        return faults


def range_faults(name: str, parameter: FloatParameter) -> list[InitErrorDetails]:
    """What is wrong with a parameter's range because of what its name stands for."""
    if name in POSITIVE_PARAMETERS and parameter.low <= 0:
        return [fault((name, "low"), parameter.low, "must be > 0, being a learning rate")]
    if name in NON_NEGATIVE_PARAMETERS and parameter.low < 0:
        return [fault((name, "low"), parameter.low, "must be >= 0, being the energy's weight")]
    return []
