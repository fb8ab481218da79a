"""Search spaces of the greedy protocol."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from search_spaces.errors import SpaceError
from search_spaces.hyperparameters import OPTIONAL_PARAMETERS, STAGE_PARAMETERS
from search_spaces.params import Parameter, fault, parse_parameter, range_faults

__all__ = ["GreedySpace", "StageSpace"]


class StageSpace(RootModel[dict[str, Parameter]]):
    """What one stage tunes: parameters by name, in order."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_every_parameter(cls, value: Any) -> Any:
        """Check all parameters, so that a fault in one does not hide those of another."""
        if not isinstance(value, Mapping):
            return value
        parameters: dict[str, Parameter] = {}
        faults: list[InitErrorDetails] = []
        for name, raw in value.items():
            try:
                parameters[name] = parse_parameter(str(name), raw)
            except ValidationError as error:
                faults.extend(_prefixed(str(name), error))
            else:
                faults.extend(range_faults(name, parameters[name]))
        if faults:
            raise ValidationError.from_exception_data("StageSpace", faults)
        return parameters

    @model_validator(mode="after")
    def _check_not_empty(self) -> StageSpace:
        if not self.root:
            raise PydanticCustomError("search_space", "must tune at least one parameter")
        return self

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Parameters by name, in declared order."""
        return self.root

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in declared order."""
        return tuple(self.root)

    def distributions(self) -> dict[str, dict[str, Any]]:
        """The parameters as JSON values, as a study's definition keeps them."""
        return {name: item.model_dump(mode="json") for name, item in self.root.items()}

    def grid_points(self) -> list[dict[str, float]]:
        """All combinations of the grids: declared order, the last parameter varying fastest.

        Raises:
            SpaceError: If a parameter has a range but no grid.
        """
        grids = {name: item.grid for name, item in self.root.items()}
        missing = [name for name, grid in grids.items() if grid is None]
        if missing:
            raise SpaceError(
                f"{', '.join(missing)}: found a range, expected a grid, since the sampler is "
                "'grid'; give `grid: [...]` or choose another sampler (tpe, random)"
            )
        values = [grid for grid in grids.values() if grid is not None]
        return [dict(zip(grids, point, strict=True)) for point in itertools.product(*values)]

    def corners(self) -> list[dict[str, float]]:
        """All combinations of the ends of the ranges."""
        ends = [(item.low, item.high) for item in self.root.values()]
        return [dict(zip(self.root, point, strict=True)) for point in itertools.product(*ends)]


class GreedySpace(BaseModel):
    """The search space of a whole greedy run.

    Attributes:
        name: Short name, shown in reports.
        description: One sentence for people.
        source: Where its values come from.
        stages: What each stage tunes: all of its `STAGE_PARAMETERS`, and any of its
            `OPTIONAL_PARAMETERS`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    description: str = ""
    source: str = ""
    stages: Mapping[str, StageSpace]

    @field_validator("stages", mode="after")
    @classmethod
    def _check_stages(cls, stages: Mapping[str, StageSpace]) -> Mapping[str, StageSpace]:
        faults = [
            fault((name,), "nothing", f"must be given, tuning {', '.join(tuned)}")
            for name, tuned in STAGE_PARAMETERS.items()
            if name not in stages
        ]
        for name, stage in stages.items():
            if name not in STAGE_PARAMETERS:
                expected = f"is no stage; expected one of {', '.join(STAGE_PARAMETERS)}"
                faults.append(fault((name,), list(stage.names), expected))
            else:
                faults += _name_faults(name, stage)
        if faults:
            raise ValidationError.from_exception_data("GreedySpace", faults)
        # declared order is the protocol's order, whatever the file's
        return {name: stages[name] for name in STAGE_PARAMETERS}

    def grid_trainings(self) -> tuple[int, ...] | None:
        """Trainings of each stage's grid; None where a parameter has a range only.

        The last stage takes over what the stage before it has trained (A.5).
        """
        try:
            points = {name: stage.grid_points() for name, stage in self.stages.items()}
        except SpaceError:
            return None
        trained = {point["alpha"] for point in points["lr_l"]}
        points["alpha"] = [point for point in points["alpha"] if point["alpha"] not in trained]
        return tuple(len(found) for found in points.values())


def _name_faults(stage: str, space: StageSpace) -> list[InitErrorDetails]:
    required, optional = STAGE_PARAMETERS[stage], OPTIONAL_PARAMETERS[stage]
    names = set(space.names)
    if names >= set(required) and names <= {*required, *optional}:
        return []
    expected = f"must tune {', '.join(required)}, and "
    expected += f"may tune {', '.join(optional)}" if optional else "nothing else"
    return [fault((stage,), list(space.names), expected)]


def _prefixed(name: str, error: ValidationError) -> list[InitErrorDetails]:
    """The lines of a nested error, located beneath `name`."""
    return [
        fault((name, *line["loc"]), line["input"], line["msg"])
        for line in error.errors(include_url=False)
    ]
