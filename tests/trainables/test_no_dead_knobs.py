"""Every knob turns something: two values of a field give two trainings, or are refused.

A search over a field that is read nowhere burns its budget and fakes an importance. The fields
come from the configuration itself, and the axes from the bundled spaces, so that a new one
without a case here fails.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from search_spaces import HYPERPARAMETERS, load_space, space_names
from tests.trainables.data.h36m_writer import make_positions, make_views, write_folder
from tests.trainables.seal.conftest import SMALL_NETS, synthetic_split
from trainables.backbones import BACKBONES
from trainables.config import (
    LOSS_NET_FIELDS,
    BackboneName,
    DataConfig,
    InputMechanism,
    NegativesName,
    TrainingConfig,
)
from trainables.data.dataset import Camera, PoseDataset, SequenceInfo
from trainables.data.loading import load_dataset
from trainables.data.reduction import leave_out_neck
from trainables.loss_nets import LOSS_NETS
from trainables.seal.trainer import SealTrainer
from trainables.skeletons import H36M_17
from tuner.wiring.checks import DECIDED_DATA

CPU = torch.device("cpu")

Fields = Mapping[str, Any]

BASE: Fields = {
    "backbone": "videopose",
    "backbone_options": {"channels": 16},
    "loss_net": "mlp",
    "loss_net_options": SMALL_NETS["mlp"],
    "lr_p": 1e-3,
    "lr_l": 1e-3,
    "alpha": 0.05,
    "batch_size": 16,
    "epochs": 2,
}
NO_LOSS_NET: Fields = {"loss_net": "none", "loss_net_options": {}, "lr_l": None, "alpha": 0.0}
SMALL_BACKBONES: Mapping[BackboneName, Fields] = {
    "videopose": {"channels": 16},
    "simplebaseline": {"channels": 16},
    "semgcn": {"channels": 8, "stages": 1},
}


@dataclass(frozen=True)
class Knob:
    """A field and two values that must differ in what they result in.

    Attributes:
        field: The field; fields of the data part as `data.stride`.
        values: The two.
        context: What else is set; the field has an effect there.
    """

    field: str
    values: tuple[Any, Any]
    context: Fields = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.field} {self.values[0]} or {self.values[1]}"


def _pairs(field: str, values: tuple[Any, ...], **context: Any) -> Iterator[Knob]:
    """Every value against the first."""
    yield from (Knob(field, (values[0], other), context) for other in values[1:])


CLIPS: Fields = {"data": {"frames": 5}, "window_weight": 1.0}
KNOBS = (
    Knob("backbone_options", ({"channels": 16}, {"channels": 16, "dropout": 0.6})),
    Knob("loss_net_options", ({"hidden": 16}, {"hidden": 16, "stages": 1})),
    Knob("variant", ("dynamic", "static")),
    Knob("static_epochs", (1, 2), {"variant": "static"}),
    Knob("objective", ("margin", "nce")),
    Knob("margin_scale", (1.0, 0.01)),
    # of several negatives the margin counts the worst one only: at first the prediction, always
    *_pairs("negatives", get_args(NegativesName), epochs=6),
    *_pairs("negatives", get_args(NegativesName), objective="nce"),
    Knob("num_perturbations", (2, 3), {"negatives": "perturbation"}),
    Knob("num_perturbations", (2, 3), {"pair_weight": 1.0}),
    Knob("perturbation_radius", (0.02, 0.1), {"negatives": "both", "objective": "nce"}),
    Knob("perturbation_radius", (0.02, 0.1), {"negatives": "perturbation"}),
    Knob("perturbation_radius", (0.02, 0.1), {"pair_weight": 1.0}),
    Knob("hard_negatives", (False, True), {"negatives": "both", "objective": "nce"}),
    Knob("pair_weight", (0.0, 1.0)),
    Knob("pair_weight", (0.1, 1.0), {"objective": "nce"}),
    Knob("pair_scale", (0.1, 10.0), {"pair_weight": 1.0}),
    Knob("pair_scale", (0.1, 10.0), CLIPS),
    Knob("window_weight", (0.0, 1.0), {"data": {"frames": 5}}),
    Knob("window_frames", (2, 3), CLIPS),
    Knob("window_shift", (1, 2), CLIPS),
    Knob("lr_p", (1e-3, 1.1e-3)),
    Knob("lr_p", (1e-3, 1.1e-3), NO_LOSS_NET),
    Knob("lr_l", (1e-3, 1.1e-3)),
    Knob("alpha", (0.0, 0.05)),
    *_pairs("pose_loss", ("mse", "mse_sum", "mpjpe", "backbone")),
    Knob("length_weight", (0.0, 0.1)),
    Knob("length_weight", (0.1, 0.2), NO_LOSS_NET),
    Knob("symmetry_weight", (0.0, 0.1)),
    Knob("symmetry_weight", (0.1, 0.2), NO_LOSS_NET),
    *_pairs("optimizer", ("adam", "amsgrad", "adamw"), weight_decay=0.1),
    Knob("optimizer", ("adam", "amsgrad"), NO_LOSS_NET),
    Knob("weight_decay", (0.0, 0.1)),
    Knob("weight_decay", (0.0, 0.1), {"optimizer": "adamw"}),
    Knob("lr_decay", (1.0, 0.9)),
    Knob("grad_clip", (None, 1e-3)),
    Knob("grad_clip", (1e-4, 1e-3), NO_LOSS_NET),
    Knob("negatives_from", ("train_forward", "eval_forward")),
    Knob("loss_optimizer", ("adam", "adamw")),
    Knob("batch_size", (16, 17)),
    Knob("epochs", (1, 2)),
    Knob("steps_per_epoch", (None, 2)),
    Knob("energy_poses", (None, 4)),
    Knob("seed", (0, 1)),
    *_pairs("flip", ("none", "double", "random")),
    Knob("flip", ("double", "random"), NO_LOSS_NET),
    Knob("data.clip_step", (1, 3), {"data": {"frames": 3}}),
    Knob("data.frames", (1, 3)),
    Knob("data.frames", (1, 3), NO_LOSS_NET),
    *(
        Knob("input", ("M3", other), {"loss_net": net, "loss_net_options": SMALL_NETS[net]})
        for net in ("graph", "mlp")
        for other in get_args(InputMechanism)
        if other != "M3"
    ),
)

CHOICES = (
    Knob("select_on", ("val", "test")),
    Knob("eval_flip", (False, True)),
    Knob("data.max_eval_poses", (None, 3)),
)
"""Fields that leave the training alone and change what it is judged by."""

COVERED_ELSEWHERE = {
    *("backbone", "loss_net", "data"),  # need other options each
    *("data.name", "data.keypoints", "data.stride", "data.joints"),  # need other data
    # likewise; in the tests of the data sets that have them
    *("data.val_subject", "data.annotation", "data.fold"),
}


def small_dataset() -> PoseDataset:
    """50 learnable poses in front of one camera."""
    rng = np.random.default_rng(0)
    camera = Camera(width=1000, height=1000, focal=(1000.0, 1000.0), center=(500.0, 500.0))
    splits = {}
    for name, poses in {"train": 50, "val": 21, "test": 30}.items():
        root = np.tile(np.array([0.0, 0.0, 4.0], np.float32), (poses, 1))
        splits[name] = dataclasses.replace(synthetic_split(rng, poses), root=root)
    sequences = tuple(
        SequenceInfo("S1", action, action, "front", None, fps=50.0, camera=camera)
        for action in ("walk", "run", "sit")
    )
    return PoseDataset("small", H36M_17, sequences, splits)


DATASET = small_dataset()


def configuration(fields: Fields) -> TrainingConfig:
    """The base with other values; `data.x` is a field of the data part."""
    merged: dict[str, Any] = {**BASE, **{k: v for k, v in fields.items() if "." not in k}}
    inner = {k.partition(".")[2]: v for k, v in fields.items() if k.startswith("data.")}
    if inner:
        merged["data"] = {**merged.get("data", {}), **inner}
    return TrainingConfig.model_validate(merged)


def train(config: TrainingConfig, dataset: PoseDataset = DATASET) -> tuple[torch.Tensor, float]:
    """All parameters after the training, and the last epoch's objective."""
    torch.set_num_threads(1)
    trainer = SealTrainer(config, dataset, device=CPU)
    for _ in range(config.epochs):
        figures = trainer.run_epoch()
    nets = [net for net in (trainer.pose_net, trainer.loss_net) if net is not None]
    parameters = [p.detach().flatten() for net in nets for p in net.parameters()]
    return torch.cat(parameters), figures["val_mpjpe_mm"]


def differ(first: TrainingConfig, second: TrainingConfig) -> bool:
    return not torch.equal(train(first)[0], train(second)[0])


def test_a_training_repeated_is_the_same() -> None:
    """Otherwise all the other tests here would pass whatever the fields did."""
    everything = {"negatives": "both", "pair_weight": 1.0, "hard_negatives": True, **CLIPS}
    for fields in ({}, NO_LOSS_NET, everything, {"variant": "static"}):
        first, second = (train(configuration(fields)) for _ in range(2))
        assert torch.equal(first[0], second[0])
        assert first[1] == second[1]


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_two_values_give_two_trainings(knob: Knob) -> None:
    first, second = (configuration({**knob.context, knob.field: v}) for v in knob.values)
    assert differ(first, second)


@pytest.mark.parametrize("knob", CHOICES, ids=lambda knob: knob.name)
def test_a_field_of_the_choice_changes_the_objective_alone(knob: Knob) -> None:
    first, second = (train(configuration({knob.field: value})) for value in knob.values)
    assert torch.equal(first[0], second[0])
    assert first[1] != second[1]


def test_every_field_has_a_case() -> None:
    fields = set(TrainingConfig.model_fields)
    fields |= {f"data.{name}" for name in DataConfig.model_fields}
    covered = {knob.field for knob in (*KNOBS, *CHOICES)} | COVERED_ELSEWHERE
    assert fields == covered | {"data.content_hash"}
    assert "content_hash" in DECIDED_DATA  # nobody can set it: it is that of the data


def test_backbones_and_loss_nets_train_differently() -> None:
    assert set(SMALL_BACKBONES) == set(get_args(BackboneName))
    pose_nets = [{"backbone": n, "backbone_options": o} for n, o in SMALL_BACKBONES.items()]
    loss_nets = [{"loss_net": n, "loss_net_options": SMALL_NETS[n]} for n in LOSS_NETS]
    for choices in (pose_nets, [*loss_nets, NO_LOSS_NET]):
        results = [train(configuration(fields))[1] for fields in choices]
        assert len(set(results)) == len(choices)


def test_other_data_give_another_training(tmp_path: Path) -> None:
    positions = make_positions()
    views = make_views(positions)
    folder = write_folder(tmp_path / "h36m", positions, views)
    for actions in views.values():
        for cameras in actions.values():
            cameras[:] = [pixels + np.float32(3.0) for pixels in cameras]
    write_folder(folder, positions, views, keypoints="shifted")
    h36m: Fields = {"name": "h36m", "stride": 2}
    sources: list[Fields] = [
        h36m,
        {**h36m, "keypoints": "shifted"},
        {**h36m, "stride": 3},
        {**h36m, "joints": 16},
        {"name": "sample", "stride": 50},
    ]
    results = []
    for source in sources:
        config = configuration({"data": dict(source), "steps_per_epoch": 2})
        results.append(train(config, load_dataset(config.data, folder))[0])
    for index, first in enumerate(results):
        assert not any(torch.equal(first, second) for second in results[:index])


NET_OPTIONS: Mapping[str, Mapping[str, tuple[Any, Any]]] = {
    "videopose": {
        "widths": ((1, 1, 1), (1, 1)),
        "channels": (16, 8),
        "dropout": (0.25, 0.5),
    },
    "simplebaseline": {"channels": (16, 8), "stages": (2, 1), "dropout": (0.5, 0.25)},
    "semgcn": {
        "channels": (8, 16),
        "stages": (1, 2),
        "dropout": (0.0, 0.5),
        "non_local": (False, True),
    },
    "graph": {
        "width": (16, 8),
        "depth": (2, 1),
        "heads": (4, 2),
        "joint_dim": (6, 4),
        "mlp_ratio": (1.0, 2.0),
        "bias": ("hop_decay", "spd_table"),
        "degree_term": (True, False),
    },
    "mlp": {"hidden": (24, 16), "stages": (2, 1)},
}
GIVEN = {"num_joints", "skeleton", "input"}
"""Arguments that the data or another field of the configuration decide."""


@pytest.mark.parametrize("name", NET_OPTIONS)
def test_every_option_of_a_net_changes_the_training(name: str) -> None:
    entry = BACKBONES.get(name) or LOSS_NETS[name]  # type: ignore[call-overload, index]
    assert set(inspect.signature(entry.build).parameters) - GIVEN == set(NET_OPTIONS[name])
    part, small = ("loss_net", SMALL_NETS.get(name, {}))
    if name in SMALL_BACKBONES:
        part, small = "backbone", dict(SMALL_BACKBONES[name])  # type: ignore[index]
    for option, values in NET_OPTIONS[name].items():
        dataset = leave_out_neck(DATASET) if option == "non_local" else DATASET
        first, second = (
            train(
                configuration({part: name, f"{part}_options": {**small, option: value}}), dataset
            )
            for value in values
        )
        assert not torch.equal(first[0], second[0]), option
        assert first[1] != second[1], option


OFF_BY_DEFAULT: Mapping[str, tuple[Any, Fields]] = {
    "static_epochs": (2, {}),
    "negatives_from": ("eval_forward", {"variant": "static"}),
    "margin_scale": (2.0, {"objective": "nce"}),
    "num_perturbations": (4, {}),
    "perturbation_radius": (0.1, {}),
    "pair_scale": (2.0, {}),
    "window_frames": (4, {}),
    "window_shift": (2, {}),
    "hard_negatives": (True, {}),
}


@pytest.mark.parametrize("field", OFF_BY_DEFAULT)
def test_a_field_out_of_its_context_is_refused(field: str) -> None:
    value, context = OFF_BY_DEFAULT[field]
    with pytest.raises(ValidationError, match=f"{field}.*(has no effect|chooses from several)"):
        configuration({**context, field: value})


NO_NET_REASONS = "has no effect with loss_net='none'|chooses from several|needs clips"


@pytest.mark.parametrize("field", [*LOSS_NET_FIELDS, "alpha"])
def test_fields_of_the_loss_net_are_refused_without_one(field: str) -> None:
    knob = next(knob for knob in KNOBS if knob.field == field)
    default = TrainingConfig.model_fields[field].get_default(call_default_factory=True)
    value = next(value for value in knob.values if value != default)
    with pytest.raises(ValidationError, match=rf"{field}=?.*({NO_NET_REASONS})"):
        configuration({**NO_LOSS_NET, field: value})


AXES = [
    (space, stage, name)
    for space in space_names()
    for stage, tuned in load_space(space).stages.items()
    for name in tuned.names
]


@pytest.mark.parametrize(("space", "stage", "name"), AXES)
def test_the_ends_of_every_bundled_axis_give_two_trainings(
    space: str, stage: str, name: str
) -> None:
    tuned = load_space(space).stages[stage]
    context: Fields = NO_LOSS_NET if stage == "lr_p" else {"energy_poses": 8}
    # the largest rates: a factor in a hinge shows once some poses have left it
    largest = {other: item.high for other, item in tuned.parameters.items()}
    parameter = tuned.parameters[name]
    first, second = (
        configuration({**context, **largest, name: end}) for end in (parameter.low, parameter.high)
    )
    assert differ(first, second)


def test_every_hyperparameter_is_a_field_with_a_case() -> None:
    assert set(HYPERPARAMETERS) <= {knob.field for knob in KNOBS}
    bundled = {name for _, _, name in AXES}
    assert bundled <= set(HYPERPARAMETERS)
    whole = {name for name, known in HYPERPARAMETERS.items() if known.whole}
    assert whole == {
        name for name in HYPERPARAMETERS if TrainingConfig.model_fields[name].annotation is int
    }
