"""What `tuner train` was asked to do, checked; `training_plan` turns it into a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_faults
from tuner.presets import PresetName

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
    name: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)

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
        raise ConfigurationError.from_faults(describe_faults(error)) from error
