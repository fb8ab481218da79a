"""The training configuration: every field that determines what a training results in."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "BackboneName",
    "DataConfig",
    "DatasetName",
    "InputMechanism",
    "LossNetName",
    "TrainingConfig",
]

BackboneName = Literal["videopose", "simplebaseline"]
LossNetName = Literal["none", "graph", "mlp"]
DatasetName = Literal["sample", "h36m"]
InputMechanism = Literal["M3"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Frozen):
    """Which data are read, and how much of them.

    Attributes:
        name: Data set.
        content_hash: SHA-256 of the decoded arrays, so that changed data change the
            fingerprint; filled in when the data are loaded.
        keypoints: Which 2D key points (`gt`, or the suffix of a VideoPose3D 2D file).
        stride: Every how many-th frame is used.
        max_eval_poses: Upper bound of poses that an epoch is validated on, evenly spaced; None
            for all. Winners are tested on all poses.
    """

    name: DatasetName = "sample"
    content_hash: str = ""
    keypoints: str = "gt"
    stride: int = Field(default=1, ge=1)
    max_eval_poses: int | None = Field(default=None, ge=1)


class TrainingConfig(_Frozen):
    """One training of a pose-net, with or without a loss-net (paper, Algorithm 1).

    Attributes:
        backbone: The pose-net F_φ.
        backbone_options: Keyword arguments of the backbone's constructor.
        loss_net: The loss-net E_θ; `none` trains the baseline.
        loss_net_options: Keyword arguments of the loss-net's constructor.
        input: How the loss-net sees 2D and 3D (A.7).
        objective: What the loss-net is trained with (Eqs. 9, 10).
        margin_scale: Factor on the margin Δ, which is in metres.
        lr_p: Learning rate η_φ of the pose-net.
        lr_l: Learning rate η_θ of the loss-net.
        alpha: Energy weight α of Eq. 7.
        pose_loss: Supervised part of Eq. 7.
        negatives_from: Prediction that the loss-net learns from: the training forward pass
            (Algorithm 1), or a second one in evaluation mode (the authors' code).
        loss_optimizer: Optimizer of the loss-net.
        batch_size: Poses per step.
        epochs: Passes over the data.
        steps_per_epoch: Upper bound of steps in an epoch, a fresh random part of the data each
            time; None for a full pass.
        energy_poses: Poses of each batch that the energy terms see, a random subset of which
            they are an unbiased estimate; None for all.
        select_on: Split on which epochs and trials are compared, reported as `val_*`: `val`,
            or `test` as the paper does, which makes the test figures optimistic.
        seed: Seed of initialisation, dropout, and data order.
        data: The data.
    """

    backbone: BackboneName
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    loss_net: LossNetName = "graph"
    loss_net_options: dict[str, Any] = Field(default_factory=dict)
    input: InputMechanism = "M3"
    objective: Literal["margin", "nce"] = "margin"
    margin_scale: float = Field(default=1.0, gt=0)
    lr_p: float = Field(gt=0)
    lr_l: float | None = Field(default=None, gt=0)
    alpha: float = Field(default=0.0, ge=0)
    pose_loss: Literal["mse", "mse_sum", "mpjpe"] = "mse"
    negatives_from: Literal["train_forward", "eval_forward"] = "train_forward"
    loss_optimizer: Literal["adam", "adamw"] = "adam"
    batch_size: int = Field(default=1024, ge=2)
    epochs: int = Field(default=50, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    energy_poses: int | None = Field(default=None, ge=1)
    select_on: Literal["val", "test"] = "val"
    seed: int = Field(default=0, ge=0)
    data: DataConfig = DataConfig()

    @model_validator(mode="after")
    def _loss_net_needs_its_rates(self) -> TrainingConfig:
        if self.loss_net != "none" and self.lr_l is None:
            raise ValueError(f"loss_net={self.loss_net!r} needs lr_l; set it, or loss_net='none'")
        if self.loss_net == "none" and self.alpha != 0.0:
            raise ValueError(f"alpha={self.alpha} has no effect with loss_net='none'; set alpha=0")
        return self

    @property
    def uses_energy(self) -> bool:
        """Whether a loss-net takes part; with α = 0 it would change nothing of the pose-net."""
        return self.loss_net != "none" and self.alpha > 0.0
