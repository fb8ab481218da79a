"""From what was asked for to data, training configuration and protocol; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from search_spaces import STAGE_PARAMETERS, GreedySpace, load_space, space_names
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig
from tuner.presets import PRESETS
from tuner.protocol.stages import Protocol, build_greedy_protocol
from tuner.settings import data_cache
from tuner.wiring.checks import check_nets, collect, refuse_decided, unknown_names
from tuner.wiring.data_notes import data_notes
from tuner.wiring.preset_fields import preset_notes, preset_training
from tuner.wiring.pretraining_fields import with_pretraining_seed
from tuner.wiring.space_checks import check_stages, validated_training

__all__ = ["Plan", "plan_greedy"]

DECIDED = {"seed", "backbone", "loss_net", "objective", "input", "select_on"}
"""Fields that have an option of their own."""

PLACEHOLDER = 1e-4


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

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the net and the data, one line each."""
        of_net = preset_notes(self.config.preset, self.training, self.dataset.skeleton)
        return (*of_net, *data_notes(self.dataset, self.training))


def plan_greedy(config: GreedyConfig) -> Plan:
    """Check everything and load the data.

    Raises:
        ConfigurationError: If a name, a field, the search space or the data are wrong; all
            faults that can be found are listed at once.
    """
    faults = unknown_names(backbone=config.backbone, dataset=config.dataset)
    if config.trials is not None and config.sampler == "grid":
        faults.append(
            f"--trials {config.trials}: a grid runs every point; choose --sampler random or tpe, "
            "or a smaller grid with --space"
        )
    if config.asynchronous and config.pruner == "none":
        faults.append(
            "--asynchronous: nothing is judged, at once or later, without a pruner; add --pruner "
            "asha, median or hyperband"
        )
    space = collect(faults, partial(load_space, config.space or default_space(config)))
    if space is not None and config.sampler == "grid":
        stages = space.stages.values()
        collect(faults, lambda: [stage.grid_points() for stage in stages])
    if space is None or faults:
        raise ConfigurationError.from_faults(faults)
    training = collect(faults, lambda: _search(config, space, "")[0])
    dataset = None
    if training is not None:
        read = partial(load_dataset, training.data, config.data_dir, cache=data_cache())
        dataset = collect(faults, read)
        if config.pruner != "none" and training.epochs < 2:
            faults.append(
                f"--pruner {config.pruner}: a training of {training.epochs} epoch cannot be "
                "stopped early; give --epochs 2 or more, or no pruner"
            )
        if dataset is not None:
            collect(faults, partial(check_nets, training, dataset))
    if dataset is None or faults:
        raise ConfigurationError.from_faults(faults)
    training, protocol = _search(config, space, dataset.content_hash())
    return Plan(config, dataset=dataset, protocol=protocol, space=space, training=training)


def default_space(config: GreedyConfig) -> str:
    """Name of the preset's search space: the one for the backbone where there is one."""
    name = PRESETS[config.preset].space
    own = f"{config.backbone}-{name}"
    return own if own in space_names() else name


def _search(
    config: GreedyConfig, space: GreedySpace, content_hash: str
) -> tuple[TrainingConfig, Protocol]:
    training = _training_config(config, space, content_hash)
    protocol = _protocol(config, space, training)
    check_stages(space, protocol)
    return training, protocol


def _training_config(
    config: GreedyConfig, space: GreedySpace, content_hash: str
) -> TrainingConfig:
    preset = PRESETS[config.preset]
    overrides = dict(config.overrides)
    chosen = overrides.pop("data", {})
    if not isinstance(chosen, Mapping):
        raise ConfigurationError(f"--set data={chosen!r}: set its fields, as in data.stride=5")
    cure = (
        "an option or the search decides that; use the option (--objective, --dataset, …), "
        "or --space for what is searched"
    )
    refuse_decided(overrides, chosen, DECIDED | _tuned(space), cure)
    asked = {**overrides, "data": chosen}
    fields = preset_training(preset, config.backbone, config.dataset, asked)
    fields |= {
        "backbone": config.backbone,
        "loss_net": config.loss_net,
        "objective": config.objective,
        "input": config.input,
        "select_on": config.select_on,
        "data": {
            **fields["data"],
            "name": config.dataset,
            "keypoints": config.keypoints,
            "content_hash": content_hash,
        },
        **_placeholders(space),
    }
    if config.epochs is not None:
        fields["epochs"] = config.epochs
    fields = with_pretraining_seed(fields, overrides.get("pretraining"), seed=config.seed)
    return validated_training(fields, space)


def _tuned(space: GreedySpace) -> set[str]:
    return {name for stage in space.stages.values() for name in stage.names}


def _placeholders(space: GreedySpace) -> dict[str, float]:
    """Values for what the protocol fills in; other fields may have an effect with them only."""
    largest = {
        name: max(parameter.grid or (parameter.high,))
        for stage in space.stages.values()
        for name, parameter in stage.parameters.items()
    }
    return largest | {name: PLACEHOLDER for names in STAGE_PARAMETERS.values() for name in names}


def _protocol(config: GreedyConfig, space: GreedySpace, training: TrainingConfig) -> Protocol:
    trials: Mapping[str, int] = PRESETS[config.preset].trials
    if config.trials is not None:
        trials = dict.fromkeys(space.stages, config.trials)
    own = set(STAGE_PARAMETERS["lr_p"]) | set(STAGE_PARAMETERS["lr_l"])
    baseline = {"seed", *own, *space.stages["lr_p"].names}
    return build_greedy_protocol(
        config.run_name,
        seed=config.seed,
        space=space,
        base=training.model_dump(mode="json", exclude={"seed", *_tuned(space)}),
        # whatever the loss-net and its search, they share one baseline
        baseline=training.without_loss_net().model_dump(mode="json", exclude=baseline),
        sampler=config.sampler,
        trials=trials,
        pruner=config.pruner,
        asynchronous=config.asynchronous,
        confirm_seeds=config.confirm_seeds,
        confirm_runners_up=config.confirm_runners_up,
        check=config.check,
    )
