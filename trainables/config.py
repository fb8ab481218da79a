"""The training configuration: every field that determines what a training results in."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from trainables.config_parts import (
    FIELDS_OF_DATA_SETS,
    NOBODY,
    DataConfig,
    DatasetName,
    Frozen,
    PretrainingConfig,
)

__all__ = [
    "FIELDS_OF_DATA_SETS",
    "LOSS_NET_FIELDS",
    "MANY_TO_MANY",
    "NOBODY",
    "PROBABILISTIC",
    "BackboneName",
    "DataConfig",
    "DatasetName",
    "InputMechanism",
    "LossNetName",
    "NegativesName",
    "OfficialLossName",
    "PoseLossName",
    "PretrainingConfig",
    "TrainingConfig",
]

BackboneName = Literal[
    "videopose",
    "simplebaseline",
    "semgcn",
    "mixste",
    "pstmo",
    "poseformerv2",
    "d3dp",
    "ktpformer",
    "motionagformer",
]
LossNetName = Literal["none", "graph", "mlp"]
InputMechanism = Literal["M1", "M2", "M3", "M4"]
PoseLossName = Literal["mse", "mse_sum", "mpjpe", "backbone"]
OfficialLossName = Literal["mse", "mse_sum", "mpjpe", "mixste", "motionagformer", "pstmo"]
NegativesName = Literal["prediction", "perturbation", "both", "hypotheses"]

PROBABILISTIC: tuple[BackboneName, ...] = ("d3dp",)
"""Pose-nets that give several hypotheses for a pose."""

MANY_TO_MANY: tuple[BackboneName, ...] = ("mixste", "d3dp", "ktpformer", "motionagformer")
"""Pose-nets that give all frames of a window a pose at once."""


class TrainingConfig(Frozen):
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
            perturbed 2D (Eqs. 1, 2), both, or hypotheses of a net that samples them (3.6).
        num_perturbations: Perturbations K of each pose.
        perturbation_radius: R_max, normalised screen coordinates (2 is the image's width).
        num_hypotheses: Hypotheses H of each pose that `negatives="hypotheses"` samples.
        hypothesis_iterations: Iterations K of their sampler.
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
        zero_root: Whether the root of a prediction is put to zero where it is measured.
        test_windows: How the windows lie in which a net that gives all frames of one a pose lifts
            a sequence at the final test: `touching`, or `sliding`, each frame being the middle of
            its own. Epochs are validated on touching ones.
        test_hypotheses: Hypotheses H of each pose at the final test, of a net that samples them;
            what is measured as the prediction is their mean. Epochs are validated on one.
        test_iterations: Iterations K of their sampler; one in validation.
        accumulate: Parts that a batch is passed through the pose-net in, one after the other, for
            less memory; the step remains one of the whole batch, but for batch norm, which sees
            the parts. The loss-net sees all clips of a batch at once, or `energy_poses` of them.
        autocast: `bf16` passes the pose-net in bfloat16 where that is safe, in training.
        checkpoint_activations: Whether the pose-net's blocks are computed once more in the
            backward pass, instead of keeping what is inside of them.
        pretraining: Masked pre-training, of P-STMO.
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
    num_hypotheses: int = Field(default=5, ge=1)
    hypothesis_iterations: int = Field(default=1, ge=1)
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
    zero_root: bool = False
    test_windows: Literal["touching", "sliding"] = "touching"
    test_hypotheses: int = Field(default=1, ge=1)
    test_iterations: int = Field(default=1, ge=1)
    accumulate: int = Field(default=1, ge=1)
    autocast: Literal["none", "bf16"] = "none"
    checkpoint_activations: bool = False
    pretraining: PretrainingConfig = PretrainingConfig()
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
    def _parts_have_clips(self) -> TrainingConfig:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate={self.accumulate} would make more parts than the "
                f"batch_size={self.batch_size} clips; set it to {self.batch_size} or less"
            )
        return self

    @model_validator(mode="after")
    def _hypotheses_need_a_sampler(self) -> TrainingConfig:
        if self.negatives == "hypotheses" and self.backbone not in PROBABILISTIC:
            raise ValueError(
                f"negatives='hypotheses' needs a net that samples them, one of "
                f"{', '.join(PROBABILISTIC)}, got backbone={self.backbone!r}; use "
                "negatives='perturbation'"
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
            sampled = self.negatives == "hypotheses"
            cure = "num_hypotheses to 2 or more" if sampled else "negatives='both'"
            raise ValueError(
                f"hard_negatives chooses from several negatives, but negatives="
                f"{self.negatives!r} gives {self.num_negatives}; set {cure}"
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
            (
                self.negatives != "hypotheses" or self.window_weight > 0,
                "with negatives='hypotheses', which are sampled in evaluation mode",
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
            (
                self.negatives == "hypotheses",
                "unless negatives='hypotheses'",
                ("num_hypotheses", "hypothesis_iterations"),
            ),
            (
                self.backbone in PROBABILISTIC,
                f"with {self.backbone!r}, which samples no hypotheses",
                ("test_hypotheses", "test_iterations"),
            ),
            (
                self.backbone in MANY_TO_MANY,
                f"with {self.backbone!r}, which gives one frame of a window a pose",
                ("test_windows",),
            ),
            (
                self.backbone == "pstmo",
                f"with {self.backbone!r}, which has no pre-training",
                ("pretraining",),
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
        return self.negatives in ("perturbation", "both") or self.pair_weight > 0

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
            case "hypotheses":
                return self.num_hypotheses


LOSS_NET_FIELDS = (
    *("loss_net_options", "input", "variant", "static_epochs", "objective", "margin_scale"),
    *("negatives", "num_perturbations", "perturbation_radius", "hard_negatives"),
    *("num_hypotheses", "hypothesis_iterations"),
    *("pair_weight", "pair_scale", "window_weight", "window_frames", "window_shift"),
    *("negatives_from", "loss_optimizer", "energy_poses"),
)
"""Fields without effect on the baseline; left at their defaults there, so that one baseline
serves every loss-net."""
