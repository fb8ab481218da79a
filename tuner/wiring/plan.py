"""From what was asked for to data, training configuration and protocol; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from pydantic import ValidationError

from search_spaces import GreedySpace, SpaceError, load_space
from trainables.builders import build_backbone, build_loss_net
from trainables.config import BackboneName, DatasetName, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from trainables.errors import ShapeError, TrainableError
from trainables.skeletons import Skeleton
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig, describe_faults
from tuner.presets import PRESETS
from tuner.protocol.stages import Protocol, build_greedy_protocol

__all__ = ["Plan", "plan_greedy"]

HYPERPARAMETERS = ("lr_p", "lr_l", "alpha")

ENERGY_FIELDS = (
    *("loss_net", "loss_net_options", "input", "objective", "margin_scale"),
    *("negatives_from", "loss_optimizer", "energy_poses"),
)
"""Fields without effect on the baseline; left at their defaults there, so that one baseline
serves every loss-net."""


@dataclass(frozen=True)
class Plan:
    """A run, ready to start.

    Attributes:
        config: What was asked for.
        dataset: The data, decoded and verified.
        protocol: The stages.
        space: The search space.
        training: The training configuration of stages 2 and 3 with placeholder rates.
    """

    config: GreedyConfig
    dataset: PoseDataset
    protocol: Protocol
    space: GreedySpace
    training: TrainingConfig


def plan_greedy(config: GreedyConfig) -> Plan:
    """Check everything and load the data.

    Raises:
        ConfigurationError: If a name, a field, the search space or the data are wrong; all
            faults that can be found are listed at once.
    """
    faults = _unknown_names(config)
    if config.trials is not None and config.sampler == "grid":
        faults.append(
            f"--trials {config.trials}: a grid runs every point; choose --sampler random or tpe, "
            "or a smaller grid with --space"
        )
    space = _collect(faults, lambda: load_space(config.space or PRESETS[config.preset].space))
    if space is not None and config.sampler == "grid":
        _collect(faults, lambda: [stage.grid_points() for stage in space.stages.values()])
    training = None if faults else _collect(faults, lambda: _training_config(config, ""))
    dataset = None
    if training is not None:
        data = training.data
        dataset = _collect(faults, lambda: load_dataset(data, config.data_dir))
        if dataset is not None:
            skeleton = dataset.skeleton
            _collect(faults, lambda: _check_nets(training, skeleton))
    if space is None or training is None or dataset is None or faults:
        raise ConfigurationError.from_faults(faults)
    training = _training_config(config, dataset.content_hash())
    return Plan(
        config=config,
        dataset=dataset,
        protocol=_protocol(config, space, training),
        space=space,
        training=training,
    )


def _unknown_names(config: GreedyConfig) -> list[str]:
    faults = []
    for option, value, known in (
        ("--backbone", config.backbone, get_args(BackboneName)),
        ("--dataset", config.dataset, get_args(DatasetName)),
    ):
        if value not in known:
            faults.append(f"{option} {value!r} is unknown; known: {', '.join(known)}")
    return faults


def _collect(faults: list[str], action: Any) -> Any:
    """Run one check; a user's mistake becomes a line in `faults`."""
    try:
        return action()
    except ValidationError as error:
        faults += describe_faults(error, prefix="training.")
    except (SpaceError, TrainableError, ConfigurationError) as error:
        faults.append(str(error))
    return None


def _training_config(config: GreedyConfig, content_hash: str) -> TrainingConfig:
    preset = PRESETS[config.preset]
    overrides = dict(config.overrides)
    chosen = overrides.pop("data", {})
    if not isinstance(chosen, Mapping):
        raise ConfigurationError(f"--set data={chosen!r}: set its fields, as in data.stride=5")
    _refuse_reserved(overrides, chosen)
    data = {
        **preset.data,
        **chosen,
        "name": config.dataset,
        "keypoints": config.keypoints,
        "content_hash": content_hash,
    }
    fields: dict[str, Any] = {
        **preset.training,
        **overrides,
        "backbone": config.backbone,
        "loss_net": config.loss_net,
        "objective": config.objective,
        "input": config.input,
        "select_on": config.select_on,
        "data": data,
        **dict.fromkeys(HYPERPARAMETERS, 1e-4),  # placeholders: the protocol fills them in
    }
    if config.epochs is not None:
        fields["epochs"] = config.epochs
    return TrainingConfig.model_validate(fields)


def _refuse_reserved(overrides: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """What an option or the search decides would be overwritten: refuse it instead."""
    decided = {*HYPERPARAMETERS, "seed", "backbone", "loss_net", "objective", "input", "select_on"}
    found = sorted(decided & set(overrides))
    found += [f"data.{name}" for name in ("content_hash", "keypoints", "name") if name in data]
    if found:
        raise ConfigurationError(
            f"--set {', '.join(found)}: an option or the search decides that; use the option "
            "(--objective, --dataset, …), or --space for what is searched"
        )


def _check_nets(training: TrainingConfig, skeleton: Skeleton) -> None:
    """Build both nets and let two poses through, so that a bad option is found now.

    Raises:
        TrainableError: If an option is unknown or does not fit.
        ConfigurationError: If the nets do not fit the data.
    """
    x = torch.zeros(2, 1, skeleton.num_joints, 2)
    with torch.no_grad():
        try:
            y = build_backbone(training, skeleton)(x)
            loss_net = build_loss_net(training, skeleton)
            if loss_net is not None:
                loss_net(x, y)
        except (RuntimeError, ShapeError) as error:
            raise ConfigurationError(
                f"{training.backbone} with backbone_options {training.backbone_options} and "
                f"{training.loss_net} with loss_net_options {training.loss_net_options} do not "
                f"take single frames of {skeleton.num_joints} joints: {error}"
            ) from error


def _protocol(config: GreedyConfig, space: GreedySpace, training: TrainingConfig) -> Protocol:
    base = _base(training.model_dump(mode="json"))
    defaults = TrainingConfig(backbone=training.backbone, lr_p=1.0, lr_l=1.0)
    plain = defaults.model_dump(mode="json", include=set(ENERGY_FIELDS))
    trials: Mapping[str, int] = PRESETS[config.preset].trials
    if config.trials is not None:
        trials = dict.fromkeys(space.stages, config.trials)
    return build_greedy_protocol(
        config.run_name,
        seed=config.seed,
        space=space,
        base=base,
        baseline={**base, **plain, "loss_net": "none"},
        sampler=config.sampler,
        trials=trials,
    )


def _base(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if k not in (*HYPERPARAMETERS, "seed")}
