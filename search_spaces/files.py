"""Search spaces by name, and their YAML files."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from search_spaces.errors import SpaceError
from search_spaces.space import GreedySpace
from search_spaces.yaml_text import parse_yaml

__all__ = ["load_space", "space_names"]

FILE_SUFFIXES = (".yaml", ".yml")

PRESETS = importlib.resources.files("search_spaces") / "presets"


def space_names() -> tuple[str, ...]:
    """Names of the bundled spaces, sorted."""
    names = (Path(item.name) for item in PRESETS.iterdir())
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
        return _parse(_bundled(name_or_path), source=f"preset {name_or_path}")
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


def _bundled(name: str) -> str:
    return (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


def _parse(text: str, *, source: str) -> GreedySpace:
    try:
        return GreedySpace.model_validate(_resolved(text, source=source))
    except ValidationError as error:
        raise SpaceError(_message(error, source)) from error


def _resolved(text: str, *, source: str) -> Mapping[str, Any]:
    """A file's content, put into the space that it extends."""
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        raise SpaceError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise SpaceError(
            f"{source}: found {type(content).__name__}, expected a mapping with name and stages"
        )
    if "extends" not in content:
        return content
    own = dict(content)
    base = own.pop("extends")
    if base not in space_names():
        raise SpaceError(
            f"search space {source}: extends = {base!r}: expected a bundled space, one of "
            f"{', '.join(space_names())}"
        )
    inherited = _resolved(_bundled(base), source=f"preset {base}")
    return {**own, "stages": _merged(inherited["stages"], own.get("stages", {}))}


def _merged(inherited: Mapping[str, Any], own: object) -> object:
    """The inherited stages with parameters added or replaced; checked later."""
    if not isinstance(own, Mapping):
        return own
    stages = dict(inherited)
    for name, parameters in own.items():
        both = isinstance(parameters, Mapping) and name in stages
        stages[name] = {**stages[name], **parameters} if both else parameters
    return stages


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
