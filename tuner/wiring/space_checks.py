"""Whether a search could train every point of its space: found out before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces import GreedySpace
from trainables.config import TrainingConfig
from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_fault
from tuner.protocol.selection import format_value
from tuner.protocol.stages import Protocol, Stage, stage_of

__all__ = ["check_stages", "example_params", "validated_training"]


def validated_training(fields: Mapping[str, Any], space: GreedySpace) -> TrainingConfig:
    """Check a training configuration that holds values of a space.

    Raises:
        ConfigurationError: If it is wrong; a fault that a tuned value has part in names the
            space and its parameter.
    """
    try:
        return TrainingConfig.model_validate(fields)
    except ValidationError as error:
        faults = [_fault(line, space) for line in error.errors(include_url=False)]
        raise ConfigurationError.from_faults(faults) from error


def check_stages(space: GreedySpace, protocol: Protocol) -> None:
    """Check the configuration of every grid point, or of every corner of the ranges.

    Raises:
        ConfigurationError: With the first fault of each stage, or every axis of it that could
            change nothing at any of its points.
    """
    faults = []
    for stage in protocol.stages:
        fields = {**stage.base, **_fixed_example(protocol, stage)}
        fault = _first_fault(fields, stage, space)
        faults += _idle_axes(fields, stage, space) if fault is None else [fault]
    if faults:
        raise ConfigurationError.from_faults(faults)


def example_params(protocol: Protocol, stage: Stage) -> dict[str, float]:
    """The largest values that a stage's trials can have, tuned and fixed ones."""
    return {**_fixed_example(protocol, stage), **_largest(stage)}


def _first_fault(fields: Mapping[str, Any], stage: Stage, space: GreedySpace) -> str | None:
    for point in stage.checked_points():
        try:
            validated_training({**fields, **point}, space)
        except ConfigurationError as error:
            at = ", ".join(f"{name} {format_value(value)}" for name, value in point.items())
            return f"{error} (found at {at})"
    return None


def _idle_axes(fields: Mapping[str, Any], stage: Stage, space: GreedySpace) -> list[str]:
    """Faults of axes that pass because they hold a field's default only, which any field may."""
    faults = []
    for name in stage.space.names:
        refused = None
        for point in stage.checked_points():
            refused = _refusal({**fields, **point}, name, space)
            if refused is None:
                break
        if refused is not None:
            faults.append(f"{refused} (tried instead of the default, the space's only value)")
    return faults


def _refusal(fields: Mapping[str, Any], name: str, space: GreedySpace) -> str | None:
    """Why a field that has its default could have no other value; None if it could."""
    default = TrainingConfig.model_fields[name].get_default()
    if fields[name] != default:
        return None
    try:
        validated_training({**fields, name: 2 * default or 1}, space)
    except ConfigurationError as error:
        return str(error)
    return None


def _fixed_example(protocol: Protocol, stage: Stage) -> dict[str, float]:
    return {
        name: _largest(stage_of(protocol, source))[name]
        for name, source in stage.fixed_from.items()
    }


def _largest(stage: Stage) -> dict[str, float]:
    points = stage.checked_points()
    return {name: max(point[name] for point in points) for name in stage.space.names}


def _fault(line: Mapping[str, Any], space: GreedySpace) -> str:
    where = {name: key for key, stage in space.stages.items() for name in stage.names}
    text = describe_fault(line, prefix="training.")
    # a field's own fault is located at it, one between several fields names them: `field=value`
    named = [n for n in where if line["loc"][:1] == (n,) or re.search(rf"\b{n}=", text)]
    if not named:
        return text
    fields = ", ".join(f"stages.{where[name]}.{name}" for name in named)
    return f"search space {space.name}, {fields}: {text.removeprefix('configuration: ')}"
