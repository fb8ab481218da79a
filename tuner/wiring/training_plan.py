"""From a request to data and one training configuration; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainables.config import LOSS_NET_FIELDS, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from tuner.errors import ConfigurationError
from tuner.presets import PRESETS
from tuner.records import TrialSpec
from tuner.settings import Locations
from tuner.wiring.checks import check_nets, collect, refuse_decided, unknown_names
from tuner.wiring.training_request import DEFAULT_ALPHA, DEFAULT_LR_L, TrainingRequest

__all__ = ["TrainingPlan", "plan_training", "training_folder"]

DECIDED = {
    *("backbone", "loss_net", "objective", "input", "lr_p", "lr_l", "alpha", "seed", "epochs"),
}
"""Fields that have an option of their own."""


@dataclass(frozen=True)
class TrainingPlan:
    """A training, ready to start.

    Attributes:
        request: What was asked for.
        dataset: The data, decoded and verified.
        training: The training configuration.
        spec: The same as a trial; a greedy search's trial of equal fingerprint is the same
            training.
    """

    request: TrainingRequest
    dataset: PoseDataset
    training: TrainingConfig
    spec: TrialSpec

    @property
    def name(self) -> str:
        """The given name, or one made from everything that determines the result."""
        request = self.request
        if request.name is not None:
            return request.name
        parts = (request.backbone, request.dataset, request.loss_net, request.preset)
        return f"{'-'.join(parts)}-{self.spec.fingerprint[:6]}"


def plan_training(request: TrainingRequest) -> TrainingPlan:
    """Check everything and load the data.

    Raises:
        ConfigurationError: If a name, a field or the data are wrong; all faults that can be
            found are listed at once.
    """
    faults = unknown_names(backbone=request.backbone, dataset=request.dataset)
    faults += _without_effect(request)
    training = None if faults else collect(faults, lambda: _training_config(request, ""))
    dataset = None
    if training is not None:
        dataset = collect(faults, partial(load_dataset, training.data, request.data_dir))
        if dataset is not None:
            collect(faults, partial(check_nets, training, dataset.skeleton))
    if dataset is None or faults:
        raise ConfigurationError.from_faults(faults)
    training = _training_config(request, dataset.content_hash())
    return TrainingPlan(request, dataset, training, _trial_spec(training))


def training_folder(locations: Locations, name: str) -> Path:
    """Folder of one training's checkpoints, results and spool.

    Raises:
        ConfigurationError: If the name is no plain word.
    """
    return locations.home / "trainings" / locations.run_folder(name).name


def _without_effect(request: TrainingRequest) -> list[str]:
    if request.loss_net != "none":
        return []
    given = {"--lr-l": request.lr_l, "--alpha": request.alpha, "--objective": request.objective}
    given["--input"] = request.input
    return [
        f"{option} {value}: has no effect with --loss-net none; leave it out"
        for option, value in given.items()
        if value is not None
    ]


def _training_config(request: TrainingRequest, content_hash: str) -> TrainingConfig:
    preset = PRESETS[request.preset]
    with_loss_net = request.loss_net != "none"
    idle = () if with_loss_net else LOSS_NET_FIELDS
    overrides = dict(request.overrides)
    chosen = overrides.pop("data", {})
    if not isinstance(chosen, Mapping):
        raise ConfigurationError(f"--set data={chosen!r}: set its fields, as in data.stride=5")
    cure = "there is an option for that (--lr-p, --objective, --dataset, …); use it"
    refuse_decided(overrides, chosen, DECIDED, cure)
    fields: dict[str, Any] = {
        **{name: value for name, value in preset.training.items() if name not in idle},
        **overrides,
        "backbone": request.backbone,
        "loss_net": request.loss_net,
        "lr_p": request.lr_p,
        "seed": request.seed,
        "data": {
            **preset.data,
            **chosen,
            "name": request.dataset,
            "keypoints": request.keypoints,
            "content_hash": content_hash,
        },
    }
    if with_loss_net:
        fields["lr_l"] = DEFAULT_LR_L if request.lr_l is None else request.lr_l
        fields["alpha"] = DEFAULT_ALPHA if request.alpha is None else request.alpha
    options = {n: getattr(request, n) for n in ("objective", "input", "epochs")}
    fields |= {name: value for name, value in options.items() if value is not None}
    return TrainingConfig.model_validate(fields)


def _trial_spec(training: TrainingConfig) -> TrialSpec:
    names = ("lr_p",) if training.loss_net == "none" else ("lr_p", "lr_l", "alpha")
    base = training.model_dump(mode="json", exclude={"lr_p", "lr_l", "alpha", "seed"})
    params = {name: float(getattr(training, name)) for name in names}
    return TrialSpec(base=base, params=params, seed=training.seed)
