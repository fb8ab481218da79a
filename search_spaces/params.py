"""Typed hyperparameters with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from search_spaces.hyperparameters import HYPERPARAMETERS

__all__ = [
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "fault",
    "parse_parameter",
    "range_faults",
]


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
    """Pydantic would read `true` as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("search_space", "expected a number")
    return value


RealNumber = Annotated[float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False)]
WholeNumber = Annotated[int, BeforeValidator(_refuse_bool)]
NumberT = TypeVar("NumberT", bound=float)


class _Ranged(BaseModel, Generic[NumberT]):
    """A range, and optionally a grid of values within it.

    Attributes:
        low: Smallest value, inclusive.
        high: Largest value, inclusive; equal to `low` only for a grid of one value.
        log: Whether samplers see the logarithm.
        grid: Values to enumerate, in the order in which they are tried; None for a range only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_by_default: ClassVar[bool] = False

    low: NumberT
    high: NumberT
    log: bool = False
    grid: tuple[NumberT, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _derive_range(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or value.get("grid") is None:
            return value
        if "low" in value or "high" in value:
            return value
        try:
            numbers = [cls._number(item) for item in value["grid"]]
        except (OverflowError, TypeError, ValueError):
            numbers = []  # the field's own check names the bad value
        low, high = (min(numbers), max(numbers)) if numbers else (0, 1)
        return {"log": cls.log_by_default and low > 0, **value, "low": low, "high": high}

    @classmethod
    def _number(cls, value: Any) -> float:
        return float(value)

    @model_validator(mode="after")
    def _check(self) -> _Ranged[NumberT]:
        faults = [*self._bound_faults(), *self._grid_faults()]
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults)
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


class FloatParameter(_Ranged[RealNumber]):
    """A real-valued hyperparameter.

    With only `grid` given, the range is the grid's, on a log scale if all values are positive.
    """

    log_by_default: ClassVar[bool] = True


class IntParameter(_Ranged[WholeNumber]):
    """A hyperparameter of whole numbers.

    With only `grid` given, the range is the grid's, on a linear scale.

    Attributes:
        type: Tells its JSON form from that of a `FloatParameter`.
    """

    type: Literal["int"] = "int"

    @classmethod
    def _number(cls, value: Any) -> int:
        number = int(value)
        if number != float(value):
            raise ValueError(f"{value!r} is no whole number")
        return number


Parameter = FloatParameter | IntParameter


def parse_parameter(name: str, value: object) -> Parameter:
    """Read a hyperparameter: whole numbers where its name or its `type: int` asks for them.

    Raises:
        pydantic.ValidationError: If it is malformed.
    """
    known = HYPERPARAMETERS.get(name)
    whole = known is not None and known.whole
    if whole or (isinstance(value, Mapping) and value.get("type") == "int"):
        return IntParameter.model_validate(value)
    return FloatParameter.model_validate(value)


def range_faults(name: str, parameter: Parameter) -> list[InitErrorDetails]:
    """What is wrong with a parameter's range because of what its name stands for."""
    known = HYPERPARAMETERS.get(name)
    if known is None or parameter.low > known.least:
        return []
    if parameter.low == known.least and not known.open:
        return []
    sign = ">" if known.open else ">="
    message = f"must be {sign} {known.least}, being {known.meaning}"
    return [fault((name, "low"), parameter.low, message)]
