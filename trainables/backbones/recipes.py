"""How the nets' authors train them: the defaults of everything that is not searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.config import BackboneName, DatasetName

__all__ = ["RECIPES", "Recipe"]

Fields = Mapping[str, Any]
"""Fields of a training configuration; those of a part in a mapping of their own."""


@dataclass(frozen=True)
class Recipe:
    """How a pose-net is trained, where `by_dataset` says nothing else.

    It is that of the data set which the paper trains the net on: MPI-INF-3DHP for P-STMO and
    MotionAGFormer, elsewhere Human3.6M.

    Attributes:
        text: The authors' own recipe, in a line for people.
        lr_p: Learning rate that its authors train it with.
        lr_p_by_dataset: Where it differs.
        quick_lr_p: A rate for the small net of `quick` and its few steps.
        fields: What belongs to the method of training, whatever is spent on it.
        budget: Batch size and length of a full training.
        by_dataset: What differs on a data set, of either kind.
        quick: A small net and a short training for a first look; empty for single-frame nets,
            which are small as they are.
    """

    text: str
    lr_p: float
    lr_p_by_dataset: Mapping[DatasetName, float] = field(default_factory=dict)
    quick_lr_p: float = 1e-3
    fields: Fields = field(default_factory=dict)
    budget: Fields = field(default_factory=dict)
    by_dataset: Mapping[DatasetName, Fields] = field(default_factory=dict)
    quick: Fields = field(default_factory=dict)

    def rate(self, dataset: str, *, quick: bool = False) -> float:
        """Learning rate lr_p on a data set; with `quick`, that of its small net."""
        if quick and self.quick:
            return self.quick_lr_p
        rates = (rate for name, rate in self.lr_p_by_dataset.items() if name == dataset)
        return next(rates, self.lr_p)

    @property
    def single_frame(self) -> bool:
        """Whether it trains on single poses."""
        return "data" not in self.fields


# A.2.1 of the paper: single-frame nets have constant rates and no augmentation
_SINGLE_FRAME: Mapping[str, Any] = {
    "budget": {"batch_size": 1024, "epochs": 50},
    "by_dataset": {"h3wb": {"batch_size": 64, "epochs": 200}},
}
# VideoPose3D's habits, which its successors have kept
_ADAMW: Fields = {
    "pose_loss": "backbone",
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "lr_decay": 0.99,
    "flip": "double",
    "eval_flip": True,
}
_AMSGRAD: Fields = {
    "pose_loss": "backbone",
    "optimizer": "amsgrad",
    "weight_decay": 0.0,
    "lr_decay": 0.97,
    "flip": "double",
    "eval_flip": True,
    "zero_root": True,
}


def _windows(frames: int, step: int) -> Fields:
    return {"frames": frames, "clip_step": step}


RECIPES: Mapping[BackboneName, Recipe] = {
    "videopose": Recipe(
        text="AMSGrad, 1e-3 × 0.95 per epoch, batch 1024, 60-80 epochs, flips",
        lr_p=1e-3,
        **_SINGLE_FRAME,
    ),
    "simplebaseline": Recipe(
        text="Adam, 1e-3 × 0.96 per 100k steps, batch 64, 200 epochs, clip 1",
        lr_p=1e-3,
        **_SINGLE_FRAME,
    ),
    "semgcn": Recipe(
        text="Adam, 1e-3 × 0.96 per 100k steps, batch 64, 50 epochs, clip 1",
        lr_p=1e-3,
        **_SINGLE_FRAME,
    ),
    "mixste": Recipe(
        text="AdamW (0.1), 4e-5 × 0.99 per epoch, 4 clips of 243 frames, 120 epochs, flips",
        lr_p=4e-5,
        fields={**_ADAMW, "data": _windows(243, 243)},
        budget={"batch_size": 4, "epochs": 120},
        quick={
            "backbone_options": {"frames": 9, "width": 64, "depth": 2},
            "data": _windows(9, 3),
            "batch_size": 16,
            "steps_per_epoch": 48,
            "energy_poses": 1,
        },
    ),
    "pstmo": Recipe(
        text="3DHP: pre-training 1e-4, 79 epochs; AMSGrad, 7e-4 × 0.97 per epoch, 160 windows of "
        "81 frames, 79 epochs, flips",
        lr_p=7e-4,
        fields={**_AMSGRAD, "data": _windows(81, 1), "backbone_options": {"output_scale": 1.0}},
        budget={"batch_size": 160, "epochs": 79, "pretraining": {"epochs": 79, "lr": 1e-4}},
        by_dataset={"mpi_inf_3dhp": {"backbone_options": {"output_scale": 0.001}}},
        quick={
            "backbone_options": {"frames": 9, "width": 128, "hidden": 256, "depth": 2},
            "data": _windows(9, 1),
            "batch_size": 64,
            "pretraining": {"epochs": 2, "lr": 1e-3},
        },
    ),
    "poseformerv2": Recipe(
        text="AdamW (0.1), 1e-4 × 0.99 per epoch, 1024 windows of 27 frames, 200 epochs, flips; "
        "3DHP: AMSGrad, 7e-4 × 0.97, 512 windows, 79 epochs",
        lr_p=1e-4,
        lr_p_by_dataset={"mpi_inf_3dhp": 7e-4},
        fields={**_ADAMW, "data": _windows(27, 1)},
        budget={"batch_size": 1024, "epochs": 200},
        by_dataset={
            "mpi_inf_3dhp": {
                **_AMSGRAD,
                "batch_size": 512,
                "epochs": 79,
                "backbone_options": {"output_scale": 0.001},
            }
        },
        quick={
            "backbone_options": {"frames": 9, "width": 16, "depth": 2},
            "data": _windows(9, 1),
            "batch_size": 64,
        },
    ),
    "d3dp": Recipe(
        text="AdamW (0.1), 6e-5 × 0.993 per epoch, 4 clips of 243 frames, 400 epochs, flips; "
        "test: 20 hypotheses, 10 iterations (3DHP: 20)",
        lr_p=6e-5,
        fields={
            **_ADAMW,
            "lr_decay": 0.993,
            "zero_root": True,
            "data": _windows(243, 243),
            "test_hypotheses": 20,
            "test_iterations": 10,
        },
        budget={"batch_size": 4, "epochs": 400},
        by_dataset={"mpi_inf_3dhp": {"test_iterations": 20}},
        quick={
            "backbone_options": {"frames": 9, "width": 64, "depth": 2},
            "data": _windows(9, 3),
            "batch_size": 16,
            "steps_per_epoch": 48,
            "energy_poses": 1,
            "test_hypotheses": 3,
            "test_iterations": 2,
        },
    ),
    "ktpformer": Recipe(
        text="AdamW (0.1), 8e-5 × 0.99 per epoch, 8 clips of 243 frames, 200 epochs, flips",
        lr_p=8e-5,
        fields={**_ADAMW, "data": _windows(243, 243)},
        budget={"batch_size": 8, "epochs": 200},
        quick={
            "backbone_options": {"frames": 9, "width": 64, "depth": 1},
            "data": _windows(9, 3),
            "batch_size": 16,
            "steps_per_epoch": 48,
            "energy_poses": 1,
        },
    ),
    "motionagformer": Recipe(
        text="3DHP: AMSGrad, 5e-4 × 0.99 per epoch, 16 clips of 81 frames, one every 9, "
        "90 epochs, random flips",
        lr_p=5e-4,
        fields={**_AMSGRAD, "lr_decay": 0.99, "flip": "random", "data": _windows(81, 9)},
        # 16 clips of 26 layers would not fit 24 GB otherwise (benchmarks/full_size.py)
        budget={"batch_size": 16, "epochs": 90, "checkpoint_activations": True},
        by_dataset={"mpi_inf_3dhp": {"test_windows": "sliding"}},
        quick={
            "backbone_options": {"frames": 9, "width": 32, "head_width": 64, "depth": 2},
            "data": _windows(9, 3),
            "batch_size": 16,
            "checkpoint_activations": False,
            "steps_per_epoch": 48,
            "energy_poses": 1,
        },
    ),
}
"""All recipes by backbone."""
