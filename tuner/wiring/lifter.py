"""A trained pose-net, ready to lift poses, and how well it does on a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from trainables.builders import build_backbone
from trainables.checkpoint import load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import DataError
from trainables.metrics.report import EvaluationReport
from trainables.seal.evaluate import report_split
from trainables.seal.lifting import Lifting, final_lifting, lift_sequence
from trainables.seeding import make_deterministic
from trainables.skeletons import Skeleton
from trainables.skeletons.description import skeleton_from_reference
from trainables.trial_run import choose_device
from tuner.errors import ConfigurationError, RunFailedError

__all__ = ["Lifter", "device_named", "load_lifter", "measure"]

POSES_PER_BATCH = 4096


@dataclass(frozen=True)
class Lifter:
    """A pose-net F_φ with its weights, in evaluation mode.

    Attributes:
        net: The net, on `device`.
        config: What it was trained with.
        skeleton: The joints that it takes and gives.
        device: Where it computes.
        checkpoint: Where its weights were read, a path or URI.
        fingerprint: Of the training.
        notes: What a user has to know of it: that it was imported, and from which file.
    """

    net: nn.Module
    config: TrainingConfig
    skeleton: Skeleton
    device: torch.device
    checkpoint: Path | str
    fingerprint: str
    notes: tuple[str, ...] = ()

    @torch.inference_mode()
    def lift(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lift poses, of one sequence and in order of time if the net looks at neighbours.

        Args:
            x: Normalised screen coordinates, (N, J, 2).

        Returns:
            Root-relative joints in the camera's frame, metres, (N, J, 3).
        """
        make_deterministic()
        lifted = lift_sequence(
            self.net,
            torch.from_numpy(np.ascontiguousarray(x)).to(self.device),
            self.skeleton,
            final_lifting(self.config),
            batch_size=POSES_PER_BATCH,
        )
        y: NDArray[np.float32] = lifted.cpu().numpy()
        return y


def device_named(name: str) -> torch.device:
    """The device that `--device auto`, `cpu` or `cuda` means on this machine.

    Raises:
        ConfigurationError: If it is none of these, or there is no GPU that torch can use.
    """
    known = ("auto", "cpu", "cuda")
    if name not in known:
        raise ConfigurationError(f"--device {name!r} is unknown; known: {', '.join(known)}")
    usable = torch.cuda.is_available()
    if name == "cuda" and not usable:
        raise ConfigurationError(
            "--device cuda: torch can use no GPU here (`tuner doctor` says why); use --device auto"
        )
    return choose_device(name, has_gpu=usable)


def load_lifter(path: Path | str, *, device: torch.device) -> Lifter:
    """Rebuild a pose-net from a checkpoint; no code in the file is ever run.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint.
        ConfigurationError: If it holds no pose-net of ours.
    """
    found = load_checkpoint(path)
    weights = found.state.get("pose_net")
    if weights is None or "config" not in found.meta:
        raise ConfigurationError(
            f"{path} holds no pose-net with its configuration; give the checkpoint `best.ckpt` "
            "(the last one of a finished training has no nets)"
        )
    try:
        config = TrainingConfig.model_validate(found.meta["config"])
        skeleton = skeleton_from_reference(found.meta["skeleton"])
        net = build_backbone(config, skeleton)
        net.load_state_dict(weights)
    except (ValidationError, KeyError, RuntimeError, DataError) as error:
        raise ConfigurationError(
            f"{path} was written by another version of the tuner and cannot be read: {error}"
        ) from error
    fingerprint = str(found.meta["fingerprint"])
    imported = found.meta.get("imported")
    notes = (str(imported["note"]),) if isinstance(imported, dict) and "note" in imported else ()
    return Lifter(net.to(device).eval(), config, skeleton, device, path, fingerprint, notes)


def measure(
    lifter: Lifter, dataset: PoseDataset, split: str, lifting: Lifting | None = None
) -> EvaluationReport:
    """Measure a pose-net on all poses of a split.

    Args:
        lifter: The net.
        dataset: The data, of the same skeleton.
        split: `train`, `val` or `test`.
        lifting: How predictions are made; None for the final test of its training.

    Returns:
        Figures over all poses, and tables by action, sequence, joint, ….

    Raises:
        ConfigurationError: If the skeletons differ.
        DataError: If the data set has no such split.
        RunFailedError: If the net gives NaN or infinity.
    """
    if dataset.skeleton != lifter.skeleton:
        raise ConfigurationError(
            f"{lifter.checkpoint} lifts poses of skeleton {lifter.skeleton.name} "
            f"({lifter.skeleton.num_joints} joints), but data set {dataset.name} has "
            f"{dataset.skeleton.name} ({dataset.skeleton.num_joints} joints); "
            "use a data set of the same skeleton"
        )
    make_deterministic()
    lifting = lifting or final_lifting(lifter.config)
    report = report_split(lifter.net, dataset, split, lifting, device=lifter.device)
    if not math.isfinite(report.figures["mpjpe_mm"]):
        raise RunFailedError(
            f"{lifter.checkpoint} predicts NaN or infinity on {split} of {dataset.name}"
        )
    return report
