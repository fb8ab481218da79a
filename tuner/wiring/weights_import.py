"""From a checkpoint that a net's authors published to one of ours, as if it had been trained."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trainables.backbones import BACKBONES
from trainables.backbones.official._renaming import first_of
from trainables.backbones.official.conversions import CONVERSIONS, Conversion
from trainables.backbones.official.reading import PublishedWeights, read_published
from trainables.backbones.official.sizes import Sizes, check_bounds
from trainables.builders import build_backbone
from trainables.config import BackboneName, DatasetName, TrainingConfig
from trainables.errors import CheckpointError
from trainables.skeletons import H3WB_133, H36M_16, H36M_17, MPI_INF_3DHP_17, Skeleton
from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_faults
from tuner.presets import PRESETS
from tuner.settings import Locations
from tuner.wiring.checks import refuse_decided, unknown_names
from tuner.wiring.preset_fields import merged, preset_training
from tuner.wiring.training_plan import training_folder
from tuner.wiring.weights_record import (
    STATE,
    BuiltNet,
    ImportedWeights,
    checkpoint_path,
    write_import,
)

__all__ = ["ImportRequest", "import_weights"]

DECIDED = {"backbone", "loss_net", "lr_p", "lr_l", "alpha", "seed"}
"""Fields of the configuration that an import leaves nothing to choose in."""

_SKELETONS: Mapping[str, Skeleton] = {
    "sample": H36M_17,
    "h36m": H36M_17,
    "mpi_inf_3dhp": MPI_INF_3DHP_17,
    "h3wb": H3WB_133,
}
_UNVERIFIED = (
    "the official names are written from memory of the authors' code; no published file was at "
    "hand to check them, so measure the net before you rely on it"
)


@dataclass(frozen=True)
class ImportRequest:
    """What is to be imported.

    Attributes:
        backbone: The pose-net.
        file: A checkpoint that its authors published.
        to: Name of the training that it becomes, or, with a slash in it, its folder.
        dataset: Data set whose joints and units it has; None for that of most published nets.
        keypoints: 2D key points that it is to be measured on.
        overrides: Fields of the training configuration.
    """

    backbone: str
    file: Path
    to: str
    dataset: str | None = None
    keypoints: str = "gt"
    overrides: Mapping[str, Any] = field(default_factory=dict)


def import_weights(request: ImportRequest, locations: Locations) -> ImportedWeights:
    """Read, convert and verify; only then write.

    Raises:
        ConfigurationError: If a name or option is wrong, or another thing bears the name.
        CheckpointError: If the file cannot be read or is of another net; the differences in
            names or shapes are listed.
    """
    conversion, dataset = _checked(request)
    folder = _folder(request.to, locations)
    published = read_published(request.file, conversion.entries)
    names = conversion.names(published.state)
    try:
        converted = conversion.convert(published.state)
        sizes = conversion.sizes(converted, published.state)
    except CheckpointError as error:
        raise CheckpointError(
            f"{request.file}: {_hint(published, request.backbone)}{error}"
        ) from error
    official = {ours: theirs for theirs, ours in names.items()}
    built = _build(request, conversion, dataset, sizes, _Entries(converted, official))
    fingerprint = _fingerprint(built.config, published.sha256)
    report = ImportedWeights(
        target=request.to,
        checkpoint=str(checkpoint_path(folder, fingerprint)),
        fingerprint=fingerprint,
        backbone=request.backbone,
        dataset=dataset,
        skeleton=built.skeleton.name,
        file=request.file.name,
        sha256=published.sha256,
        entry=published.entry,
        left_out=published.left_out,
        parameters=sum(p.numel() for p in built.net.parameters()),
        entries=len(names),
        renamed=sum(theirs != ours for theirs, ours in names.items()),
        dropped=tuple(name for name in conversion.dropped if name in published.state),
        options=built.config.backbone_options,
        assumed=_assumed(conversion, built),
        differences=(*conversion.differences, _UNVERIFIED),
    )
    write_import(report, built, folder)
    return report


def _checked(request: ImportRequest) -> tuple[Conversion, str]:
    """The conversion and the data set; all names that are wrong at once."""
    dataset = request.dataset
    faults = unknown_names(backbone=request.backbone, dataset=dataset or "h36m")
    if dataset in get_args(DatasetName) and dataset not in _SKELETONS:
        faults.append(
            f"--dataset {dataset}: has no joints of its own; name the data set that the net was "
            f"trained on, one of {', '.join(_SKELETONS)}"
        )
    conversion = next((c for name, c in CONVERSIONS.items() if name == request.backbone), None)
    if conversion is not None and dataset is None:
        dataset = conversion.dataset
        if dataset is None:
            faults.append(
                f"--dataset is missing: published nets of {request.backbone} give metres on h36m "
                "and millimetres on mpi_inf_3dhp; say which this one is of"
            )
    if faults or conversion is None or dataset is None:
        raise ConfigurationError.from_faults(faults)
    for part, example in (
        ("data", "data.stride=2"),
        ("backbone_options", "backbone_options.heads=4"),
    ):
        value = request.overrides.get(part, {})
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"--set {part}={value!r}: set its fields, as in {example}")
    cure = "an import decides that, or there is an option for it (--dataset, --keypoints)"
    refuse_decided(request.overrides, request.overrides.get("data", {}), DECIDED, cure)
    return conversion, dataset


def _folder(to: str, locations: Locations) -> Path:
    """Where the import is kept; no other error can come of the name of a training."""
    if "/" in to:
        return Path(to).expanduser().absolute()
    try:
        return training_folder(locations, to)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"--to {to!r}: expected the name of a training (letters, digits, '.', '_' and '-', "
            "first a letter or digit, at most 100 characters) or, with a slash in it, a folder"
        ) from error


def _hint(published: PublishedWeights, backbone: str) -> str:
    """Which other backbones have these very names; before the many names of this one."""
    fitting = [
        name
        for name, conversion in CONVERSIONS.items()
        if name != backbone and conversion.fits(published.state)
    ]
    return f"its names are those of --backbone {' or '.join(fitting)}; " if fitting else ""


@dataclass(frozen=True)
class _Entries:
    """Tensors of a file by our names, and how the file calls them."""

    converted: Mapping[str, Tensor]
    official: Mapping[str, str]

    def named(self, ours: str) -> str:
        return self.official.get(ours, ours)


def _build(
    request: ImportRequest, conversion: Conversion, dataset: str, sizes: Sizes, entries: _Entries
) -> BuiltNet:
    """The net of these sizes, filled, and its configuration: the authors' recipe."""
    skeleton = _SKELETONS[dataset]
    data: dict[str, Any] = {}
    if sizes.joints == H36M_16.num_joints and skeleton == H36M_17:
        skeleton, data = H36M_16, {"joints": 16}
    if sizes.joints != skeleton.num_joints:
        raise CheckpointError(
            f"{request.file} is of {sizes.joints} joints, but --dataset {dataset} has "
            f"{skeleton.num_joints} ({skeleton.name}); name the data set that it was trained on"
        )
    options = {**sizes.options, **conversion.options}
    chosen = merged(
        {**conversion.fields, "backbone_options": options, "data": data}, request.overrides
    )
    missing = [
        f"--set backbone_options.{name}=… is missing: {text}; no tensor's shape tells it"
        for name, text in conversion.needs.items()
        if name not in chosen["backbone_options"]
    ]
    if missing:
        raise ConfigurationError.from_faults(missing)
    try:
        check_bounds(chosen["backbone_options"])
    except CheckpointError as error:
        raise CheckpointError(f"{request.file}: {error}") from error
    config = _config(request, dataset, chosen)
    return BuiltNet(config, skeleton, _filled(request.file, config, skeleton, entries))


def _config(request: ImportRequest, dataset: str, chosen: Mapping[str, Any]) -> TrainingConfig:
    fields = preset_training(PRESETS["paper"], request.backbone, dataset, chosen, loss_net=False)
    fields |= {
        "backbone": request.backbone,
        "loss_net": "none",
        "lr_p": BACKBONES[_known(request.backbone)].recipe.rate(dataset),
        "data": {**fields["data"], "name": dataset, "keypoints": request.keypoints},
    }
    try:
        return TrainingConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError.from_faults(describe_faults(error, prefix="training.")) from error


def _known(backbone: str) -> BackboneName:
    return next(name for name in BACKBONES if name == backbone)


def _filled(
    file: Path, config: TrainingConfig, skeleton: Skeleton, entries: _Entries
) -> nn.Module:
    """The net with the file's tensors.

    Its shapes are compared before it has any memory: then it is as large as the file, whatever
    sizes one of the tensors tells.
    """
    with torch.device("meta"):
        _check_shapes(file, build_backbone(config, skeleton).state_dict(), entries)
    try:
        net = build_backbone(config, skeleton)
        net.load_state_dict(dict(entries.converted))
    except (MemoryError, RuntimeError) as error:
        raise CheckpointError(
            f"{file}: a net of its sizes cannot be built here ({str(error).splitlines()[0]})"
        ) from error
    _check_values(file, net, entries)
    return net


def _check_shapes(file: Path, own: Mapping[str, Tensor], entries: _Entries) -> None:
    converted = entries.converted
    faults = [
        f"{entries.named(name)}: {_shape(converted[name])}, expected {_shape(value)}"
        for name, value in own.items()
        if name in converted and converted[name].shape != value.shape
    ]
    faults += [
        f"{entries.named(name)}: not in a net of this size" for name in converted.keys() - own
    ]
    faults += [f"{name}: missing for a net of this size" for name in own.keys() - converted]
    if faults:
        raise CheckpointError(
            f"{file} does not fit the net that its other tensors tell of; {len(faults)} differ: "
            f"{first_of(faults, '; ')}"
        )


def _check_values(file: Path, net: nn.Module, entries: _Entries) -> None:
    """Refuse values that are finite in the file, but not as the net's numbers."""
    for name, value in net.state_dict().items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{file}: {entries.named(name)} has values beyond those of {value.dtype}, the "
                "type of the net; nothing that was trained has"
            )


def _shape(value: Tensor) -> str:
    return str(tuple(value.shape))


def _fingerprint(config: TrainingConfig, sha256: str) -> str:
    """Letters and digits, unlike those of any training."""
    text = json.dumps([config.model_dump(mode="json"), sha256], sort_keys=True)
    return STATE + hashlib.sha256(text.encode()).hexdigest()[:16]


def _assumed(conversion: Conversion, built: BuiltNet) -> dict[str, Any]:
    """Values of the options that no shape tells and the user has not given."""
    options = built.config.backbone_options
    parameters = inspect.signature(BACKBONES[built.config.backbone].build).parameters
    return {n: parameters[n].default for n in conversion.assumed if n not in options}
