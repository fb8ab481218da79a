"""What `tuner train` was asked to do, checked; `training_plan` turns it into a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trainables.config import BackboneName, DatasetName
from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_faults
from tuner.presets import PresetName
from tuner.wiring.checks import unknown_names

__all__ = [
    "DEFAULT_ALPHA",
    "DEFAULT_LR_L",
    "DEFAULT_LR_P",
    "TrainingRequest",
    "parse_training_request",
]

DEFAULT_LR_P = 1e-3
"""Learning rate of VideoPose3D's authors."""

DEFAULT_LR_L = 1e-4
"""One of the values of the paper's Table 8."""

DEFAULT_ALPHA = 1e-3
"""Likewise."""


class TrainingRequest(BaseModel):
    """One training, as asked for. Field names are those of the command line.

    Attributes:
        backbone: Pose-net to train.
        dataset: Data set to train on.
        data_dir: Folder of its files; None for bundled data.
        keypoints: Which 2D key points.
        loss_net: Loss-net; `none` trains the pose-net alone.
        objective: What the loss-net is trained with; None for the default.
        input: How the loss-net sees 2D and 3D; None for the default.
        preset: How much is trained.
        epochs: Epochs; None for the preset's.
        lr_p: Learning rate of the pose-net.
        lr_l: Learning rate of the loss-net; None for the default.
        alpha: Energy weight; None for the default.
        seed: Seed of initialisation and data order.
        select_on: Split that epochs are compared on; `test` is what the paper did.
        name: Name of the training; None for one made from the configuration.
        overrides: Further fields of the training configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backbone: str
    dataset: str = "sample"
    data_dir: Path | None = None
    keypoints: str = "gt"
    loss_net: Literal["none", "graph", "mlp"] = "graph"
    objective: str | None = None
    input: str | None = None
    preset: PresetName = "quick"
    epochs: int | None = Field(default=None, ge=1)
    lr_p: float = Field(default=DEFAULT_LR_P, gt=0)
    lr_l: float | None = Field(default=None, gt=0)
    alpha: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)
    select_on: Literal["val", "test"] = "val"
    name: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)

    @field_validator("epochs", "lr_p", "lr_l", "alpha", "seed", mode="before")
    @classmethod
    def _no_boolean(cls, value: object) -> object:
        """Python takes true for 1, which nobody means."""
        if isinstance(value, bool):
            raise ValueError("expected a number")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute_folder(cls, value: Path | None) -> Path | None:
        """Keep where it is, whatever folder a later command is started in."""
        return None if value is None else value.expanduser().absolute()


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
