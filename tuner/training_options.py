"""What a search and a single training are both asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from tuner.presets import PresetName

__all__ = ["TrainingOptions"]


class TrainingOptions(BaseModel):
    """Options of the command line about what is trained, checked.

    Attributes:
        backbone: Pose-net.
        dataset: Data set to train on.
        data_dir: Folder of its files; None for bundled data.
        keypoints: Which 2D key points.
        preset: How much is trained.
        epochs: Epochs per training; None for the preset's.
        select_on: Split that epochs and trials are compared on; `test` is what the paper did.
        seed: Base seed.
        name: Name of the run; None for one made from what is asked for.
        overrides: Further fields of the training configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backbone: str
    dataset: str = "sample"
    data_dir: Path | None = None
    keypoints: str = "gt"
    preset: PresetName = "quick"
    epochs: int | None = Field(default=None, ge=1)
    select_on: Literal["val", "test"] = "val"
    seed: int = Field(default=0, ge=0)
    name: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: object, info: ValidationInfo) -> object:
        """Python takes true for 1, which nobody means, except where an option is a switch."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("expected another kind of value than true or false")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute_folder(cls, value: Path | None) -> Path | None:
        """Keep where it is, whatever folder a later command is started in."""
        return None if value is None else value.expanduser().absolute()
