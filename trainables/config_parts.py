"""The parts of a training configuration: data, pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

__all__ = [
    "FIELDS_OF_DATA_SETS",
    "NOBODY",
    "DataConfig",
    "DatasetName",
    "Frozen",
    "PretrainingConfig",
]

DatasetName = Literal["sample", "h36m", "mpi_inf_3dhp", "h3wb", "poses"]


class Frozen(BaseModel):
    """Fields that never change, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` would pass for 1, a learning rate that nobody meant."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("expected another kind of value than true or false")
        return value


FIELDS_OF_DATA_SETS: Mapping[str, tuple[DatasetName, ...]] = MappingProxyType(
    {
        "keypoints": ("h36m",),
        "val_subject": ("h36m", "mpi_inf_3dhp", "poses"),
        "annotation": ("mpi_inf_3dhp",),
        "fold": ("h3wb",),
    }
)
"""Fields of `DataConfig` that matter to some data sets only."""


NOBODY = "none"
"""As `DataConfig.val_subject`: no validation split, all training subjects train."""


class DataConfig(Frozen):
    """Which data are read, and how much of them.

    Attributes:
        name: Data set.
        content_hash: SHA-256 of the decoded arrays, so that changed data change the
            fingerprint; filled in when the data are loaded.
        keypoints: Which 2D key points of `h36m`: `gt`, or the suffix of another 2D file.
        val_subject: Training subject that validates; None holds out whole recordings where
            their names are known, else the last training subject; `none` holds out nobody, as
            the paper does, which selects on test.
        annotation: Which 3D of `mpi_inf_3dhp`'s MATLAB files: rescaled to one skeleton, as most
            authors use, or of true size.
        fold: Which of the five parts of `h3wb` tests.
        stride: Every how many-th frame is used.
        joints: 16 leaves out the neck of Human3.6M's 17 joints, as SemGCN's authors do; None
            for all joints.
        frames: Frames T of a training clip; 1 trains on single poses. Frames beyond an end of
            the sequence repeat the frame there.
        clip_step: Training clips start every so many frames; with `frames`, they touch without
            overlapping.
        max_eval_poses: Upper bound of poses that an epoch is validated on, evenly spaced; None
            for all. Winners are tested on all poses.
    """

    name: DatasetName = "sample"
    content_hash: str = ""
    keypoints: str = "gt"
    val_subject: str | None = None
    annotation: Literal["univ_annot3", "annot3"] = "univ_annot3"
    fold: int = Field(default=0, ge=0, le=4)
    stride: int = Field(default=1, ge=1)
    joints: Literal[16] | None = None
    frames: int = Field(default=1, ge=1)
    clip_step: int = Field(default=1, ge=1)
    max_eval_poses: int | None = Field(default=None, ge=1)

    @property
    def validates(self) -> bool:
        """Whether there is a split `val`."""
        return self.val_subject != NOBODY

    @model_validator(mode="after")
    def _no_field_of_another_data_set(self) -> DataConfig:
        idle = [
            f"{name}={getattr(self, name)!r} has no effect on data set {self.name!r}, only on "
            f"{' and '.join(data_sets)}"
            for name, data_sets in FIELDS_OF_DATA_SETS.items()
            if self.name not in data_sets
            and getattr(self, name) != type(self).model_fields[name].default
        ]
        if idle:
            raise ValueError("; ".join(idle) + "; leave it out")
        return self


class PretrainingConfig(Frozen):
    """Masked pre-training of P-STMO, before anything else is trained.

    Attributes:
        epochs: Passes over the data; 0 for no pre-training.
        lr: Learning rate, which falls by the training's `lr_decay` after every epoch.
        masked_frames: Share of a clip's frames that are hidden.
        masked_joints: Joints that are replaced in each frame.
        seed: Its own seed, so that trials of several seeds begin with the same pre-training;
            a search, and `tuner train`, set it to their own.
    """

    epochs: int = Field(default=0, ge=0)
    lr: float = Field(default=1e-4, gt=0)
    masked_frames: float = Field(default=0.7, ge=0, lt=1)
    masked_joints: int = Field(default=2, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _no_field_without_effect(self) -> PretrainingConfig:
        if self.epochs == 0:
            idle = [
                f"{name}={getattr(self, name)!r} has no effect"
                for name, field in type(self).model_fields.items()
                if getattr(self, name) != field.default
            ]
            if idle:
                raise ValueError("; ".join(idle) + " with epochs=0; leave it out")
        return self
