"""The training configuration: every field that determines what a training results in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

__all__ = [
    "FIELDS_OF_DATA_SETS",
    "LOSS_NET_FIELDS",
    "NOBODY",
    "BackboneName",
    "DataConfig",
    "DatasetName",
    "InputMechanism",
    "LossNetName",
    "NegativesName",
    "PoseLossName",
    "TrainingConfig",
]

BackboneName = Literal["videopose", "simplebaseline", "semgcn"]
LossNetName = Literal["none", "graph", "mlp"]
DatasetName = Literal["sample", "h36m", "mpi_inf_3dhp", "h3wb", "poses"]
InputMechanism = Literal["M1", "M2", "M3", "M4"]
PoseLossName = Literal["mse", "mse_sum", "mpjpe", "backbone"]
NegativesName = Literal["prediction", "perturbation", "both"]


class _Frozen(BaseModel):
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


class DataConfig(_Frozen):
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


class TrainingConfig(_Frozen):
    """One training of a pose-net, with or without a loss-net (paper, Algorithm 1).

    A field that could not change anything, given the others, must keep its default: a search
    over it would be wasted.

    Attributes:
        backbone: The pose-net F_φ.
        backbone_options: Keyword arguments of the backbone's constructor.
        loss_net: The loss-net E_θ; `none` trains the baseline.
        loss_net_options: Keyword arguments of the loss-net's constructor.
        input: How the loss-net sees 2D and 3D (A.7).
        variant: `dynamic` trains both nets in turn (Algorithm 1). `static` trains the loss-net
            first, against the predictions of a pose-net that has been trained alone, freezes
            it, and then trains the pose-net from its initialisation.
        static_epochs: Epochs of each of the two trainings that `static` begins with.
        objective: What the loss-net is trained with (Eqs. 9, 10).
        margin_scale: Factor on the margin Δ, which is in metres.
        negatives: What the objective tells the truth from: the prediction, predictions from
            perturbed 2D (Eqs. 1, 2), or both.
        num_perturbations: Perturbations K of each pose.
        perturbation_radius: R_max, normalised screen coordinates (2 is the image's width).
        hard_negatives: Whether the objective sees, of several negatives, only the one that
            projects closest to the ground truth's 2D (3.6); needs calibrated cameras.
        pair_weight: Weight λ of the ordering of perturbed negatives (Eq. 3).
        pair_scale: Factor κ on the distance of two negatives, or two windows.
        window_weight: Weight of the neighbouring-window term (Eqs. 4, 5); needs clips.
        window_frames: Frames w of a window.
        window_shift: Neighbouring windows start up to so many frames apart.
        lr_p: Learning rate η_φ of the pose-net.
        lr_l: Learning rate η_θ of the loss-net.
        alpha: Energy weight α of Eq. 7.
        pose_loss: Supervised part of Eq. 7; `backbone` is that of the net's own authors.
        length_weight: Weight λ_len of explicit constraints on bone lengths, |‖b̃‖ - ‖b‖|.
        symmetry_weight: Weight λ_sym of explicit constraints on left/right symmetry.
        optimizer: Optimizer of the pose-net: Adam as in the paper, or what a net's authors use.
        weight_decay: Its weight decay, on all parameters: decoupled with `adamw`, else L2.
        lr_decay: Factor on the pose-net's learning rate after every epoch; the loss-net's stays.
        grad_clip: Largest norm of the pose-net's gradient; None leaves it alone.
        negatives_from: Prediction that the loss-net learns from: the training forward pass
            (Algorithm 1), or a second one in evaluation mode (the authors' code).
        loss_optimizer: Optimizer of the loss-net.
        batch_size: Clips per step (poses, with one frame).
        epochs: Passes over the data.
        steps_per_epoch: Upper bound of steps in an epoch, a fresh random part of the data each
            time; None for a full pass.
        energy_poses: Clips of each batch that the energy terms see, a random subset of which
            they are an unbiased estimate; None for all.
        flip: Training with mirrored clips, left and right exchanged: `double` has every clip
            twice in an epoch, as recorded and mirrored (VideoPose3D); `random` mirrors each with
            probability 0.5 (MotionAGFormer).
        eval_flip: Whether a prediction is the mean of that of the clip and that of its mirror
            image, mirrored back.
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
    variant: Literal["dynamic", "static"] = "dynamic"
    static_epochs: int = Field(default=5, ge=1)
    objective: Literal["margin", "nce"] = "margin"
    margin_scale: float = Field(default=1.0, gt=0)
    negatives: NegativesName = "prediction"
    num_perturbations: int = Field(default=3, ge=1)
    perturbation_radius: float = Field(default=0.02, gt=0)
    hard_negatives: bool = False
    pair_weight: float = Field(default=0.0, ge=0)
    pair_scale: float = Field(default=1.0, gt=0)
    window_weight: float = Field(default=0.0, ge=0)
    window_frames: int = Field(default=3, ge=1)
    window_shift: int = Field(default=1, ge=1)
    lr_p: float = Field(gt=0)
    lr_l: float | None = Field(default=None, gt=0)
    alpha: float = Field(default=0.0, ge=0)
    pose_loss: PoseLossName = "mse"
    length_weight: float = Field(default=0.0, ge=0)
    symmetry_weight: float = Field(default=0.0, ge=0)
    optimizer: Literal["adam", "amsgrad", "adamw"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    lr_decay: float = Field(default=1.0, gt=0, le=1)
    grad_clip: float | None = Field(default=None, gt=0)
    negatives_from: Literal["train_forward", "eval_forward"] = "train_forward"
    loss_optimizer: Literal["adam", "adamw"] = "adam"
    batch_size: int = Field(default=1024, ge=2)
    epochs: int = Field(default=50, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    energy_poses: int | None = Field(default=None, ge=1)
    flip: Literal["none", "double", "random"] = "none"
    eval_flip: bool = False
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

    @model_validator(mode="after")
    def _selects_on_a_split_that_exists(self) -> TrainingConfig:
        if not self.data.validates and self.select_on == "val":
            raise ValueError(
                f"data.val_subject={NOBODY!r} leaves no validation split, but select_on='val' "
                "chooses on it; set select_on='test' (--select-on test), or leave "
                "data.val_subject out"
            )
        return self

    @model_validator(mode="after")
    def _windows_fit_into_clips(self) -> TrainingConfig:
        needed = self.window_frames + self.window_shift
        if self.window_weight > 0 and self.data.frames < needed:
            raise ValueError(
                f"window_weight={self.window_weight} needs clips of at least window_frames + "
                f"window_shift = {needed} frames, got data.frames={self.data.frames}; "
                f"set data.frames={needed}"
            )
        return self

    @model_validator(mode="after")
    def _several_negatives_where_needed(self) -> TrainingConfig:
        if self.pair_weight > 0 and self.num_perturbations < 2:
            raise ValueError(
                f"pair_weight={self.pair_weight} orders at least two perturbations, got "
                f"num_perturbations={self.num_perturbations}; set it to 2 or more"
            )
        if self.hard_negatives and self.num_negatives < 2:
            raise ValueError(
                f"hard_negatives chooses from several negatives, but negatives="
                f"{self.negatives!r} gives {self.num_negatives}; set negatives='both'"
            )
        return self

    @model_validator(mode="after")
    def _no_field_without_effect(self) -> TrainingConfig:
        defaults = type(self).model_fields
        idle = [
            f"{name}={getattr(self, name)!r} has no effect {reason}"
            for condition, reason, names in self._conditional_fields()
            if not condition
            for name in names
            if getattr(self, name) != defaults[name].get_default(call_default_factory=True)
        ]
        if idle:
            raise ValueError("; ".join(idle) + "; leave it out")
        return self

    def _conditional_fields(self) -> tuple[tuple[bool, str, tuple[str, ...]], ...]:
        """Fields that matter under a condition only: condition, else-reason, names."""
        with_net = self.loss_net != "none"
        margin = with_net and self.objective == "margin"
        return (
            (with_net, "with loss_net='none'", LOSS_NET_FIELDS),
            (self.variant == "static", "unless variant='static'", ("static_epochs",)),
            (
                self.variant == "dynamic",
                "with variant='static', where negatives come from a fixed pose-net",
                ("negatives_from",),
            ),
            (margin, "unless objective='margin'", ("margin_scale",)),
            (
                self.perturbs,
                "unless negatives is 'perturbation' or 'both', or pair_weight > 0",
                ("num_perturbations", "perturbation_radius"),
            ),
            (
                self.pair_weight > 0 or self.window_weight > 0,
                "unless pair_weight or window_weight > 0",
                ("pair_scale",),
            ),
            (
                self.window_weight > 0,
                "unless window_weight > 0",
                ("window_frames", "window_shift"),
            ),
        )

    def without_loss_net(self) -> TrainingConfig:
        """The same training of the pose-net alone: its baseline."""
        fields = self.model_dump(exclude={"loss_net", "lr_l", "alpha", *LOSS_NET_FIELDS})
        return type(self)(**fields, loss_net="none")

    @property
    def uses_energy(self) -> bool:
        """Whether a loss-net takes part; with α = 0 it would change nothing of the pose-net."""
        return self.loss_net != "none" and self.alpha > 0.0

    @property
    def perturbs(self) -> bool:
        """Whether perturbed 2D poses are lifted."""
        return self.negatives != "prediction" or self.pair_weight > 0

    @property
    def num_negatives(self) -> int:
        """Negatives that the objective chooses from."""
        match self.negatives:
            case "prediction":
                return 1
            case "perturbation":
                return self.num_perturbations
            case "both":
                return 1 + self.num_perturbations


LOSS_NET_FIELDS = (
    *("loss_net_options", "input", "variant", "static_epochs", "objective", "margin_scale"),
    *("negatives", "num_perturbations", "perturbation_radius", "hard_negatives"),
    *("pair_weight", "pair_scale", "window_weight", "window_frames", "window_shift"),
    *("negatives_from", "loss_optimizer", "energy_poses"),
)
"""Fields without effect on the baseline; left at their defaults there, so that one baseline
serves every loss-net."""
