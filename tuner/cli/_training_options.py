"""Options of every command that trains, and how they are read."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer
import yaml

from search_spaces import parse_yaml
from tuner.errors import ConfigurationError
from tuner.settings import read_yaml

__all__ = [
    "OUTPUT",
    "PLACES",
    "TRAINING",
    "WORKERS",
    "ArtifactRootOption",
    "BackboneOption",
    "ConfigOption",
    "DataDirOption",
    "DatasetOption",
    "EpochsOption",
    "HomeOption",
    "InputOption",
    "JsonOption",
    "KeypointsOption",
    "ObjectiveOption",
    "PresetOption",
    "ResumeMode",
    "ResumeOption",
    "SetOption",
    "TrackingUriOption",
    "collect_values",
    "option",
    "resume_mode",
]

TRAINING = "What is trained"
PLACES = "Where things are kept"
WORKERS = "Where it runs"
OUTPUT = "Output"

ResumeMode: TypeAlias = Literal["auto", "never", "must"]


def option(name: str, text: str, panel: str) -> Any:
    """An option in a panel of `--help`; its text says what the default is."""
    return typer.Option(name, help=text, rich_help_panel=panel, show_default=False)


BackboneOption = Annotated[
    str | None, option("--backbone", "Pose-net; `tuner backbones` lists them.", TRAINING)
]
DatasetOption = Annotated[
    str | None,
    option(
        "--dataset", "sample (bundled, the default), h36m, mpi_inf_3dhp, h3wb or poses.", TRAINING
    ),
]
DataDirOption = Annotated[
    Path | None, option("--data-dir", "Folder of the data set's files.", TRAINING)
]
KeypointsOption = Annotated[
    str | None, option("--keypoints", "2D key points: gt (default), cpn_ft_h36m_dbb …", TRAINING)
]
ObjectiveOption = Annotated[
    str | None, option("--objective", "margin (default) or nce.", TRAINING)
]
InputOption = Annotated[
    str | None, option("--input", "How the loss-net sees 2D and 3D: M1 to M4 [M3].", TRAINING)
]
PresetOption = Annotated[
    str | None,
    option("--preset", "quick, standard or paper [default: by device].", TRAINING),
]
EpochsOption = Annotated[
    int | None, option("--epochs", "Epochs per training [default: the preset's].", TRAINING)
]
SetOption = Annotated[
    list[str] | None,
    option("--set", "FIELD=VALUE of the training configuration; repeatable.", TRAINING),
]
ResumeOption = Annotated[str, option("--resume", "auto (default), never or must.", PLACES)]
HomeOption = Annotated[
    Path | None, option("--home", "Folder of everything [default: ./tuner-runs].", PLACES)
]
TrackingUriOption = Annotated[
    str | None, option("--tracking-uri", "MLflow: URL, or none for a plain log.", PLACES)
]
ArtifactRootOption = Annotated[
    str | None, option("--artifact-root", "Where MLflow keeps artifacts.", PLACES)
]
ConfigOption = Annotated[Path | None, option("--config", "YAML file with these options.", OUTPUT)]
JsonOption = Annotated[bool, option("--json", "Print one JSON object on standard output.", OUTPUT)]


def collect_values(
    given: Mapping[str, Any], assignments: Sequence[str], file: Path | None
) -> dict[str, Any]:
    """Put a settings file, options and `--set` together; the later one wins.

    Args:
        given: Options by name; None where an option was left out.
        assignments: What `--set` was given.
        file: What `--config` was given.

    Returns:
        Values by name; `overrides` holds fields of the training configuration. `preset` is
        chosen by the device where nobody chose it.

    Raises:
        ConfigurationError: If the file or an assignment cannot be read, or no backbone is given.
    """
    values: dict[str, Any] = read_yaml(file) if file else {}
    values |= {name: value for name, value in given.items() if value is not None}
    overrides = values.get("overrides") or {}
    if not isinstance(overrides, dict):
        raise ConfigurationError(
            f"overrides = {overrides!r}: expected fields of the training configuration, "
            "such as {batch_size: 512}"
        )
    overrides = copy.deepcopy(overrides)
    for assignment in assignments:
        _assign(overrides, assignment)
    values["overrides"] = overrides
    if "backbone" not in values:
        raise ConfigurationError("--backbone is missing; `tuner backbones` lists the pose-nets")
    if "preset" not in values:
        values["preset"] = _preset_of_device()
    return values


def resume_mode(value: str) -> ResumeMode:
    """Check what `--resume` was given.

    Raises:
        ConfigurationError: If it is none of the three.
    """
    match value:
        case "auto" | "never" | "must":
            return value
    raise ConfigurationError(f"--resume {value!r} is unknown; known: auto, never, must")


def _assign(overrides: dict[str, Any], assignment: str) -> None:
    """Put `a.b=value` into nested mappings; the value is read as YAML."""
    path, sign, text = assignment.partition("=")
    if not sign or not path:
        raise ConfigurationError(
            f"--set {assignment}: expected FIELD=VALUE, such as batch_size=512"
        )
    *folders, field = path.split(".")
    target = overrides
    for folder in folders:
        target = target.setdefault(folder, {})
        if not isinstance(target, dict):
            raise ConfigurationError(
                f"--set {assignment}: {folder} has been set to a value before"
            )
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {assignment}: {text!r} is no YAML value") from error
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML reads 1e-4 as text
    target[field] = value


def _preset_of_device() -> str:
    from tuner.wiring.diagnostics import torch_devices

    return "standard" if torch_devices().gpus else "quick"
