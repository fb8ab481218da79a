"""Every knob turns something: two values of a field give two trainings, or are refused.

A search over a field that is read nowhere burns its budget and fakes an importance. The fields
come from the configuration itself, and the axes from the bundled spaces, so that a new one
without a case here fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from search_spaces import HYPERPARAMETERS, load_space, space_names
from search_spaces.params import Parameter
from tests.trainables.data.h36m_writer import make_positions, make_views, write_folder
from tests.trainables.seal.conftest import SMALL_NETS
from tests.trainables.small_trainings import (
    DATASET,
    NO_LOSS_NET,
    PARTS,
    SMALL_BACKBONES,
    Fields,
    configuration,
    differ,
    of_backbone,
    train,
)
from trainables.config import (
    LOSS_NET_FIELDS,
    InputMechanism,
    NegativesName,
    TrainingConfig,
)
from trainables.data.loading import load_dataset
from trainables.loss_nets import LOSS_NETS
from trainables.seal.trainer import SealTrainer
from tuner.wiring.checks import DECIDED_DATA


@dataclass(frozen=True)
class Knob:
    """A field and two values that must differ in what they result in.

    Attributes:
        field: The field; those of a part as `data.stride`.
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
NEGATIVES = tuple(name for name in get_args(NegativesName) if name != "hypotheses")
"""Those of every net."""

SAMPLED: Fields = {**of_backbone("d3dp"), "negatives": "hypotheses", "objective": "nce"}
PRETRAINED: Fields = {**of_backbone("pstmo"), "pretraining": {"epochs": 1, "lr": 1e-3}}
KNOBS = (
    Knob("backbone_options", ({"channels": 16}, {"channels": 16, "dropout": 0.6})),
    Knob("loss_net_options", ({"hidden": 16}, {"hidden": 16, "stages": 1})),
    Knob("variant", ("dynamic", "static")),
    Knob("static_epochs", (1, 2), {"variant": "static"}),
    Knob("objective", ("margin", "nce")),
    Knob("margin_scale", (1.0, 0.01)),
    # of several negatives the margin counts the worst one only: at first the prediction, always
    *_pairs("negatives", NEGATIVES, epochs=6),
    *_pairs("negatives", NEGATIVES, objective="nce"),
    *_pairs("negatives", ("hypotheses", *NEGATIVES), objective="nce", **of_backbone("d3dp")),
    Knob("num_hypotheses", (2, 3), SAMPLED),
    Knob("hypothesis_iterations", (1, 2), SAMPLED),
    Knob("hard_negatives", (False, True), SAMPLED),
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
    # batch norm sees the parts of a batch
    Knob("accumulate", (1, 2)),
    Knob("accumulate", (2, 3), NO_LOSS_NET),
    Knob("autocast", ("none", "bf16")),
    Knob("autocast", ("none", "bf16"), NO_LOSS_NET),
    Knob("seed", (0, 1)),
    *_pairs("flip", ("none", "double", "random")),
    Knob("flip", ("double", "random"), NO_LOSS_NET),
    Knob("pretraining.epochs", (0, 1), of_backbone("pstmo")),
    Knob("pretraining.epochs", (1, 2), PRETRAINED),
    Knob("pretraining.lr", (1e-3, 2e-3), PRETRAINED),
    Knob("pretraining.masked_frames", (0.4, 0.7), PRETRAINED),
    Knob("pretraining.masked_joints", (2, 3), PRETRAINED),
    Knob("pretraining.seed", (0, 1), PRETRAINED),
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
    Knob("zero_root", (False, True)),
    Knob("data.max_eval_poses", (None, 3)),
)
"""Fields that leave the training alone and change what it is judged by."""

FINAL_TEST = (
    Knob("test_hypotheses", (1, 3), of_backbone("d3dp")),
    Knob("test_iterations", (1, 2), of_backbone("d3dp")),
    Knob("test_windows", ("touching", "sliding"), of_backbone("mixste")),
)
"""Fields that leave training and choice alone and change what the winner is reported with."""

COVERED_ELSEWHERE = {
    # must change no bit: test_less_memory.py holds it, and that less is kept
    "checkpoint_activations",
    *("backbone", "loss_net", "data"),  # need other options each
    *("data.name", "data.keypoints", "data.stride", "data.joints"),  # need other data
    # likewise; in the tests of the data sets that have them
    *("data.val_subject", "data.annotation", "data.fold"),
}


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


@pytest.mark.parametrize("knob", FINAL_TEST, ids=lambda knob: knob.name)
def test_a_field_of_the_final_test_changes_that_alone(knob: Knob) -> None:
    torch.set_num_threads(1)
    validated, tested = [], []
    for value in knob.values:
        config = configuration({**knob.context, knob.field: value, "epochs": 1})
        trainer = SealTrainer(config, DATASET, device=torch.device("cpu"))
        figures = trainer.run_epoch()
        validated.append({n: v for n, v in figures.items() if not n.endswith("_s")})
        tested.append(trainer.evaluate("test")["mpjpe_mm"])
    assert validated[0] == validated[1]
    assert tested[0] != tested[1]


def test_every_field_has_a_case() -> None:
    fields = set(TrainingConfig.model_fields) - {"pretraining"}
    for part in PARTS:
        inner = type(TrainingConfig.model_fields[part].default).model_fields
        fields |= {f"{part}.{name}" for name in inner}
    covered = {knob.field for knob in (*KNOBS, *CHOICES, *FINAL_TEST)} | COVERED_ELSEWHERE
    assert fields == covered | {"data.content_hash"}
    assert "content_hash" in DECIDED_DATA  # nobody can set it: it is that of the data


def test_backbones_and_loss_nets_train_differently() -> None:
    pose_nets = [of_backbone(name) for name in SMALL_BACKBONES]
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
    "num_hypotheses": (3, {}),
    "hypothesis_iterations": (2, {}),
    "test_hypotheses": (2, {}),
    "test_iterations": (2, {}),
    "test_windows": ("sliding", {}),
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


def _axes() -> dict[tuple[str, str], tuple[dict[str, Parameter], str]]:
    """Each axis of the bundled spaces once, by the space that has it first."""
    found: dict[str, tuple[str, str]] = {}
    result = {}
    for space in space_names():
        for stage, tuned in load_space(space).stages.items():
            for name in tuned.names:
                axes = dict(tuned.parameters)
                key = f"{stage} {name} {sorted(axes.items())}"
                if key not in found:
                    found[key] = (space, name)
                    result[f"{space}-{stage}", name] = (axes, stage)
    return result


AXES = _axes()


@pytest.mark.parametrize("axis", AXES, ids="-".join)
def test_the_ends_of_every_bundled_axis_give_two_trainings(axis: tuple[str, str]) -> None:
    parameters, stage = AXES[axis]
    context: Fields = NO_LOSS_NET if stage == "lr_p" else {"energy_poses": 8}
    # the largest rates: a factor in a hinge shows once some poses have left it
    largest = {other: item.high for other, item in parameters.items()}
    first, second = (
        configuration({**context, **largest, axis[1]: end})
        for end in (parameters[axis[1]].low, parameters[axis[1]].high)
    )
    assert differ(first, second)


def test_every_hyperparameter_is_a_field_with_a_case() -> None:
    assert set(HYPERPARAMETERS) <= {knob.field for knob in KNOBS}
    bundled = {name for _, name in AXES}
    assert bundled <= set(HYPERPARAMETERS)
    whole = {name for name, known in HYPERPARAMETERS.items() if known.whole}
    assert whole == {
        name for name in HYPERPARAMETERS if TrainingConfig.model_fields[name].annotation is int
    }
