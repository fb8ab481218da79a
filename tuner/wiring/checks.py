"""Checks of what was asked for, collected so that one message lists all faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar, get_args

import torch
from pydantic import ValidationError

from search_spaces import SpaceError
from trainables.builders import build_backbone, build_loss_net
from trainables.config import BackboneName, DatasetName, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import ShapeError, TrainableError
from trainables.seal.batches import check_clips_suffice
from trainables.seal.device_data import middle_frames
from trainables.seal.lifting import window_of
from trainables.seal.masked_net import build_masked_net
from trainables.seal.objectives import pose_loss
from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_faults

__all__ = ["check_nets", "collect", "refuse_decided", "unknown_names"]

Value = TypeVar("Value")

DECIDED_DATA = ("content_hash", "keypoints", "name")


def collect(faults: list[str], action: Callable[[], Value]) -> Value | None:
    """Run one check; a user's mistake becomes a line in `faults`, and the result None."""
    try:
        return action()
    except ValidationError as error:
        faults += describe_faults(error, prefix="training.")
    except (SpaceError, TrainableError, ConfigurationError) as error:
        faults.append(str(error))
    return None


def unknown_names(*, backbone: str, dataset: str) -> list[str]:
    """A fault for each name that is not known."""
    faults = []
    for option, value, known in (
        ("--backbone", backbone, get_args(BackboneName)),
        ("--dataset", dataset, get_args(DatasetName)),
    ):
        if value not in known:
            faults.append(f"{option} {value!r} is unknown; known: {', '.join(known)}")
    return faults


def refuse_decided(
    overrides: Mapping[str, object], data: Mapping[str, object], decided: set[str], cure: str
) -> None:
    """Refuse fields in `--set` that would be overwritten by what decides them.

    Args:
        overrides: Fields of the training configuration.
        data: Fields of its data part.
        decided: Fields that something else decides.
        cure: What to do instead.

    Raises:
        ConfigurationError: If there is any.
    """
    found = sorted(decided & set(overrides))
    found += [f"data.{name}" for name in DECIDED_DATA if name in data]
    if found:
        raise ConfigurationError(f"--set {', '.join(found)}: {cure}")


def check_nets(training: TrainingConfig, dataset: PoseDataset) -> None:
    """Build the nets and let two clips through, so that a bad option is found now.

    This is first tried without values, which costs next to nothing; nets that need values, and
    what fails, get real ones, which name the fault.

    Raises:
        TrainableError: If an option is unknown or does not fit.
        ConfigurationError: If the nets do not fit the data.
    """
    skeleton, frames = dataset.skeleton, training.data.frames
    clips = "single frames" if frames == 1 else f"clips of {frames} frames"
    with suppress(RuntimeError, TypeError, ValueError, TrainableError):
        _let_through(training, dataset, torch.device("meta"))
        return
    try:
        _let_through(training, dataset, torch.device("cpu"))
    except (RuntimeError, ShapeError) as error:
        raise ConfigurationError(
            f"{training.backbone} with backbone_options {training.backbone_options} and "
            f"{training.loss_net} with loss_net_options {training.loss_net_options} do not "
            f"take {clips} of {skeleton.num_joints} joints: {error}"
        ) from error


@torch.no_grad()
def _let_through(training: TrainingConfig, dataset: PoseDataset, device: torch.device) -> None:
    """Pass two clips as training has them, and two as validation has them."""
    skeleton, frames = dataset.skeleton, training.data.frames
    with device:
        pose_net = build_backbone(training, skeleton)
    loss_net = build_loss_net(training, skeleton)  # small, and made with values of its graph
    if loss_net is not None:
        loss_net.to(device)
    window = window_of(pose_net)
    check_clips_suffice(training, window)
    _check_order(training, dataset, max(frames, window.frames))
    with device:
        if training.pretraining.epochs > 0:
            build_masked_net(training, skeleton)(torch.zeros(2, frames, skeleton.num_joints, 2))
        for count in {frames, window.frames}:  # validation lifts a window at a time
            x = torch.zeros(2, count, skeleton.num_joints, 2)
            y = pose_net(x)
            seen = middle_frames(x, window.outputs(count))
            pose_loss("mse", y, torch.zeros(*seen.shape[:-1], 3))
            if loss_net is not None:
                loss_net(seen, y)


def _check_order(training: TrainingConfig, dataset: PoseDataset, frames: int) -> None:
    """Refuse clips of poses that do not follow one another in time."""
    loose = sum(not info.ordered for info in dataset.sequences)
    if frames > 1 and loose:
        raise ConfigurationError(
            f"{training.backbone} with data.frames={training.data.frames} needs clips of {frames} "
            f"frames, but {loose} of the {len(dataset.sequences)} sequences of data set "
            f"{dataset.name!r} are loose poses, which do not follow one another in time; set "
            "data.frames=1, and use a single-frame backbone"
        )
