"""From a request to data and one training configuration; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from trainables.config import (
    BackboneName,
    DataConfig,
    DatasetName,
    TrainingConfig,
)
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_fault
from tuner.presets import PRESETS
from tuner.records import TrialSpec
from tuner.settings import Locations, data_cache
from tuner.wiring.checks import DECIDED_DATA, check_nets, collect, refuse_decided, unknown_names
from tuner.wiring.data_notes import data_notes
from tuner.wiring.preset_fields import default_rate, preset_notes, preset_training
from tuner.wiring.pretraining_fields import with_pretraining_seed
from tuner.wiring.training_request import DEFAULT_ALPHA, DEFAULT_LR_L, TrainingRequest

__all__ = ["TrainingPlan", "plan_training", "training_folder"]

DECIDED = {
    *("backbone", "loss_net", "objective", "input", "lr_p", "lr_l", "alpha", "seed", "epochs"),
    "select_on",
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the net and the data, one line each."""
        of_net = preset_notes(self.request.preset, self.training, self.dataset.skeleton)
        return (*of_net, *data_notes(self.dataset, self.training))


def plan_training(request: TrainingRequest) -> TrainingPlan:
    """Check everything and load the data.

    Raises:
        ConfigurationError: If a name, a field or the data are wrong; all faults that can be
            found are listed at once.
    """
    unknown = unknown_names(backbone=request.backbone, dataset=request.dataset)
    faults = [*unknown, *_without_effect(request)]
    dataset = training = None
    if faults == unknown:
        training = _checked(_with_known_names(request), faults)
    if training is not None and not faults:
        read = partial(load_dataset, training.data, request.data_dir, cache=data_cache())
        dataset = collect(faults, read)
        if dataset is not None:
            collect(faults, partial(check_nets, training, dataset))
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


def _with_known_names(request: TrainingRequest) -> TrainingRequest:
    """The request with names that are known, so that its other fields can be checked."""
    names = {"backbone": get_args(BackboneName), "dataset": get_args(DatasetName)}
    wrong = {n: known[0] for n, known in names.items() if getattr(request, n) not in known}
    return request.model_copy(update=wrong)


def _checked(request: TrainingRequest, faults: list[str]) -> TrainingConfig | None:
    """The configuration; what is wrong becomes lines in `faults`, and the result None."""
    try:
        return _training_config(request, "")
    except ValidationError as error:
        faults += [_described(line) for line in error.errors(include_url=False)]
    except ConfigurationError as error:
        faults.append(str(error))
    return None


def _described(line: Mapping[str, Any]) -> str:
    """A fault in a line; for a field that does not exist with those that do."""
    text = describe_fault(line, prefix="training.")
    *folder, name = line["loc"] or ("",)
    if line["type"] != "extra_forbidden":
        return text
    model, decided = (DataConfig, set(DECIDED_DATA)) if folder else (TrainingConfig, DECIDED)
    known = sorted(set(model.model_fields) - decided)
    close = get_close_matches(str(name), known)
    return f"{text}; {'close to it' if close else 'known'}: {', '.join(close or known)}"


def _training_config(request: TrainingRequest, content_hash: str) -> TrainingConfig:
    preset = PRESETS[request.preset]
    with_loss_net = request.loss_net != "none"
    overrides = dict(request.overrides)
    chosen = overrides.pop("data", {})
    if not isinstance(chosen, Mapping):
        raise ConfigurationError(f"--set data={chosen!r}: set its fields, as in data.stride=5")
    cure = "there is an option for that (--lr-p, --objective, --dataset, …); use it"
    refuse_decided(overrides, chosen, DECIDED, cure)
    asked = {**overrides, "data": chosen}
    fields = preset_training(
        preset, request.backbone, request.dataset, asked, loss_net=with_loss_net
    )
    fields |= {
        "backbone": request.backbone,
        "loss_net": request.loss_net,
        "lr_p": request.lr_p or default_rate(preset, request.backbone, request.dataset),
        "seed": request.seed,
        "select_on": request.select_on,
        "data": {
            **fields["data"],
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
    fields = with_pretraining_seed(fields, overrides.get("pretraining"), seed=request.seed)
    return TrainingConfig.model_validate(fields)


def _trial_spec(training: TrainingConfig) -> TrialSpec:
    names = ("lr_p",) if training.loss_net == "none" else ("lr_p", "lr_l", "alpha")
    base = training.model_dump(mode="json", exclude={"lr_p", "lr_l", "alpha", "seed"})
    params = {name: float(getattr(training, name)) for name in names}
    return TrialSpec(base=base, params=params, seed=training.seed)
