"""What `tuner train` was asked to do, checked; `training_plan` turns it into a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from trainables.config import BackboneName, DatasetName
from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_faults
from tuner.training_options import TrainingOptions
from tuner.wiring.checks import unknown_names

__all__ = [
    "DEFAULT_ALPHA",
    "DEFAULT_LR_L",
    "TrainingRequest",
    "parse_training_request",
]

DEFAULT_LR_L = 1e-4
"""One of the values of the paper's Table 8."""

DEFAULT_ALPHA = 1e-3
"""Likewise."""


class TrainingRequest(TrainingOptions):
    """One training, as asked for. Field names are those of the command line.

    Attributes:
        loss_net: Loss-net; `none` trains the pose-net alone.
        objective: What the loss-net is trained with; None for the default.
        input: How the loss-net sees 2D and 3D; None for the default.
        lr_p: Learning rate of the pose-net; None for that of the net's authors.
        lr_l: Learning rate of the loss-net; None for the default.
        alpha: Energy weight; None for the default.
    """

    loss_net: Literal["none", "graph", "mlp"] = "graph"
    objective: str | None = None
    input: str | None = None
    lr_p: float | None = Field(default=None, gt=0)
    lr_l: float | None = Field(default=None, gt=0)
    alpha: float | None = Field(default=None, gt=0)


def parse_training_request(values: dict[str, Any]) -> TrainingRequest:
    """Check the values of a command line or settings file.

    Raises:
        ConfigurationError: If any is wrong; the message lists every fault.
    """
    try:
        return TrainingRequest.model_validate(values)
    except ValidationError as error:
        faults = [*_unknown_names(values), *describe_faults(error)]
        raise ConfigurationError.from_faults(faults) from error


def _unknown_names(values: Mapping[str, Any]) -> list[str]:
    """Faults that are otherwise found later, so that one message lists them all."""
    known = {"backbone": get_args(BackboneName)[0], "dataset": get_args(DatasetName)[0]}
    given = {name: values.get(name) for name in known}
    words = {name: value for name, value in given.items() if isinstance(value, str)}
    return unknown_names(**{**known, **words})
