"""Named search spaces of the greedy protocol, and their YAML files."""

from __future__ import annotations

import importlib.resources
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
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
from search_spaces.params import FloatParameter, fault, range_faults

__all__ = ["STAGE_PARAMETERS", "GreedySpace", "StageSpace", "load_space", "space_names"]

STAGE_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "lr_p": ("lr_p",),
    "lr_l": ("lr_l", "alpha"),
    "alpha": ("alpha",),
}
"""The default protocol's stages and what each tunes (paper A.5)."""

FILE_SUFFIXES = (".yaml", ".yml")


class StageSpace(RootModel[dict[str, FloatParameter]]):
    """What one stage tunes: parameters by name, in order."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_every_parameter(cls, value: Any) -> Any:
        """Check all parameters, so that a fault in one does not hide those of another."""
        if not isinstance(value, Mapping):
            return value
        parameters: dict[str, FloatParameter] = {}
        faults: list[InitErrorDetails] = []
        for name, raw in value.items():
            try:
                parameters[name] = FloatParameter.model_validate(raw)
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
    def parameters(self) -> Mapping[str, FloatParameter]:
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


class GreedySpace(BaseModel):
    """The search space of a whole greedy run.

    Attributes:
        name: Short name, shown in reports.
        description: One sentence for people.
        stages: What each stage tunes; the keys are those of `STAGE_PARAMETERS`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    description: str = ""
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
            elif set(stage.names) != set(STAGE_PARAMETERS[name]):
                expected = f"must tune exactly {', '.join(STAGE_PARAMETERS[name])}"
                faults.append(fault((name,), list(stage.names), expected))
        if faults:
            raise ValidationError.from_exception_data("GreedySpace", faults)
        # declared order is the protocol's order, whatever the file's
        return {name: stages[name] for name in STAGE_PARAMETERS}


def space_names() -> tuple[str, ...]:
    """Names of the bundled spaces, sorted."""
    folder = importlib.resources.files("search_spaces") / "presets"
    names = (Path(item.name) for item in folder.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix in FILE_SUFFIXES))


def load_space(name_or_path: str) -> GreedySpace:
    """Load a bundled space by name, or a space from a YAML file.

    Args:
        name_or_path: A name of `space_names()`, or a path (it ends in `.yaml` or `.yml`, or
            has a folder in it).

    Raises:
        SpaceError: If the name is unknown, the file cannot be read, or the space is malformed;
            then all faults are listed, each with its field, what was found and what is
            expected.
    """
    if name_or_path in space_names():
        preset = importlib.resources.files("search_spaces") / "presets" / f"{name_or_path}.yaml"
        return _parse(preset.read_text(encoding="utf-8"), source=f"preset {name_or_path}")
    path = Path(name_or_path)
    if path.suffix not in FILE_SUFFIXES and len(path.parts) < 2:
        raise SpaceError(
            f"unknown search space {name_or_path!r}; known: {', '.join(space_names())}; "
            "or give the path of a YAML file"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpaceError(
            f"search space file {name_or_path} cannot be read: {reason}; "
            f"give the path of a YAML file, or one of {', '.join(space_names())}"
        ) from error
    return _parse(text, source=name_or_path)


def _parse(text: str, *, source: str) -> GreedySpace:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpaceError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise SpaceError(
            f"{source}: found {type(content).__name__}, expected a mapping with name and stages"
        )
    try:
        return GreedySpace.model_validate(content)
    except ValidationError as error:
        raise SpaceError(_message(error, source)) from error


def _prefixed(name: str, error: ValidationError) -> list[InitErrorDetails]:
    """The lines of a nested error, located beneath `name`."""
    return [
        fault((name, *line["loc"]), line["input"], line["msg"])
        for line in error.errors(include_url=False)
    ]


def _message(error: ValidationError, source: str) -> str:
    lines = []
    for line in error.errors(include_url=False):
        field = ".".join(str(part) for part in line["loc"])
        found = "" if line["type"] == "missing" else f" = {line['input']!r}"
        lines.append(f"{field}{found}: {line['msg'][0].lower()}{line['msg'][1:]}")
    if len(lines) == 1:
        return f"search space {source}: {lines[0]}"
    return f"search space {source}, {len(lines)} problems:\n" + "\n".join(
        f"  - {line}" for line in lines
    )
