"""The net that P-STMO's masked pre-training trains, and what its result depends on."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

import torch

from trainables.backbones.pstmo_masked import MaskedPSTMO
from trainables.config import TrainingConfig
from trainables.errors import TrainableError
from trainables.seeding import derive_seed, isolated_rng
from trainables.skeletons import Skeleton

__all__ = ["build_masked_net", "pretraining_fingerprint"]

VERSION = 1
"""Raised whenever the same settings result in another net; part of the fingerprint."""

_SHARED_OPTIONS = ("frames", "width", "hidden", "depth", "heads", "dropout")
_SHARED_FIELDS = {"batch_size", "steps_per_epoch", "lr_decay", "flip", "pretraining"}
_CPU = torch.device("cpu")


def pretraining_fingerprint(config: TrainingConfig) -> str:
    """Identity of the pre-training that a training begins with.

    Trainings that agree in the net's shared part, the data (their 2D), batches, flips and
    `pretraining` share it: whatever their seeds, learning rates and loss-nets.
    """
    data = config.data.model_dump(mode="json", exclude={"max_eval_poses"})
    facts = {
        "version": VERSION,
        "net": _shared_options(config),
        "data": data,
        **config.model_dump(mode="json", include=_SHARED_FIELDS),
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def build_masked_net(config: TrainingConfig, skeleton: Skeleton) -> MaskedPSTMO:
    """Build the net to be pre-trained, initialised from its own stream, on the CPU.

    Any joint may be hidden; the authors' code never hides the last one, a slip.

    Raises:
        TrainableError: If an option does not work, alone or together with P-STMO's.
    """
    options = _shared_options(config)
    part = config.pretraining
    masking: dict[str, Any] = {
        "masked_frames": part.masked_frames,
        "masked_joints": part.masked_joints,
    }
    with isolated_rng(derive_seed(part.seed, "pretraining", "init"), _CPU):
        try:
            return MaskedPSTMO(num_joints=skeleton.num_joints, **options, **masking)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TrainableError(
                f"pretraining with backbone_options {options} and {masking} does not work: "
                f"{error}; pretraining.epochs=0 leaves it out"
            ) from error


def _shared_options(config: TrainingConfig) -> dict[str, Any]:
    """Options of the net that both nets have, defaults filled in."""
    defaults = inspect.signature(MaskedPSTMO).parameters
    given = config.backbone_options
    return {name: given.get(name, defaults[name].default) for name in _SHARED_OPTIONS}
