"""What a search space makes of a run's plan, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from search_spaces import load_space, space_names
from tests.trainables.seal.conftest import tiny_dataset
from trainables.backbones import BACKBONES
from trainables.config import LOSS_NET_FIELDS, BackboneName, InputMechanism, TrainingConfig
from trainables.data.dataset import PoseDataset
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig, parse_greedy_config
from tuner.protocol.stages import Stage
from tuner.records import TrialSpec
from tuner.wiring import plan as planning
from tuner.wiring import training_plan
from tuner.wiring.cost import describe_plan, smaller_trainings
from tuner.wiring.plan import Plan, default_space, plan_greedy
from tuner.wiring.space_checks import example_params
from tuner.wiring.training_plan import plan_training
from tuner.wiring.training_request import parse_training_request

__all__ = ["tiny_dataset"]

SMALL = {"backbone_options": {"channels": 8}, "loss_net_options": {"hidden": 8}}


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch: pytest.MonkeyPatch, tiny_dataset: PoseDataset) -> None:
    """Plans are made on 50 synthetic poses: loading the bundled data takes seconds."""
    monkeypatch.setattr(planning, "load_dataset", lambda *_, **__: tiny_dataset)


def asked(**values: Any) -> GreedyConfig:
    overrides = {**SMALL, **values.pop("overrides", {})}
    fields = {"backbone": "videopose", "loss_net": "mlp", "overrides": overrides, **values}
    return parse_greedy_config(fields)


def plan(**values: Any) -> Plan:
    return plan_greedy(asked(**values))


def write(folder: Path, stages: str, *, base: str = "quick") -> str:
    path = folder / "mine.yaml"
    path.write_text(f"name: mine\nextends: {base}\nstages: {stages}\n", encoding="utf-8")
    return str(path)


def trainings(found: Plan, stage: Stage) -> list[TrainingConfig]:
    """Every point that was checked, as a worker would read it."""
    example = example_params(found.protocol, stage)
    return [
        TrainingConfig.model_validate(
            TrialSpec(stage.base, {**example, **point}, seed=1).training_config()
        )
        for point in stage.checked_points()
    ]


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
@pytest.mark.parametrize("name", space_names())
def test_every_bundled_space_makes_trainings(name: str, sampler: str) -> None:
    found = plan(space=name, sampler=sampler)
    first, second, third = found.protocol.stages
    assert {config.loss_net for config in trainings(found, first)} == {"none"}
    for stage in (second, third):
        assert {config.loss_net for config in trainings(found, stage)} == {"mlp"}
    if name == "negatives":
        counts = {config.num_perturbations for config in trainings(found, second)}
        assert counts == ({3} if sampler == "grid" else {2, 8})
        assert all(type(count) is int for count in counts)


def test_all_loss_nets_and_spaces_share_one_baseline() -> None:
    base = dict(plan().protocol.stages[0].base)
    for values in (
        {"objective": "nce"},
        {"input": "M3", "overrides": {"negatives_from": "eval_forward"}},
        {"space": "negatives"},
        {"space": "negatives", "overrides": {"negatives": "both", "variant": "static"}},
    ):
        assert dict(plan(**values).protocol.stages[0].base) == base
    assert set(LOSS_NET_FIELDS) <= set(base)


def test_tuned_fields_stand_in_no_base() -> None:
    found = plan(space="negatives")
    first, second, third = found.protocol.stages
    tuned = {*second.space.names, "lr_p", "seed"}
    assert not tuned & set(second.base)
    assert second.base == third.base
    assert not {"lr_p", "lr_l", "alpha", "seed"} & set(first.base)
    constrained = plan(space="constraints").protocol.stages
    for stage in constrained:
        assert not {"length_weight", "symmetry_weight"} & set(stage.base)


REFUSED = [
    (
        {"objective": "nce"},
        "{lr_l: {margin_scale: {grid: [1, 2]}}}",
        r"search space mine, stages\.lr_l\.margin_scale: margin_scale=2\.0 has no effect unless "
        "objective='margin'",
    ),
    (
        {},
        "{lr_l: {pair_scale: {grid: [1, 2]}}}",
        r"stages\.lr_l\.pair_scale: pair_scale=2\.0 has no effect unless pair_weight or window",
    ),
    (
        {},
        "{lr_l: {num_perturbations: {grid: [2, 3]}, perturbation_radius: {grid: [0.1]}}}",
        r"stages\.lr_l\.perturbation_radius: perturbation_radius=0\.1 has no effect",
    ),
    (
        {},
        "{lr_l: {num_perturbations: {grid: [3, 4]}, pair_weight: {grid: [1e-3, 0]}}}",
        r"stages\.lr_l\.num_perturbations: num_perturbations=4 has no effect unless .*"
        r"\(found at lr_l 1e-4, alpha 1e-3, num_perturbations 4, pair_weight 0\)",
    ),
    (
        {},
        "{lr_l: {num_perturbations: {grid: [1, 2]}, pair_weight: {grid: [1e-3]}}}",
        "orders at least two perturbations, got num_perturbations=1",
    ),
    (
        {"sampler": "tpe"},
        "{lr_l: {num_perturbations: {low: 1, high: 4}}}",
        r"stages\.lr_l\.num_perturbations: num_perturbations=4 has no effect",
    ),
    (
        {},
        "{lr_l: {window_weight: {grid: [0.5]}}}",
        r"stages\.lr_l\.window_weight: window_weight=0\.5 needs clips .*set data\.frames=4",
    ),
    (
        {"objective": "nce"},
        "{lr_l: {margin_scale: {grid: [1]}}}",
        r"^search space mine, stages\.lr_l\.margin_scale: margin_scale=2\.0 has no effect unless "
        r"objective='margin'; leave it out \(tried instead of the default, the space's only",
    ),
    (
        {},
        "{lr_l: {num_perturbations: {grid: [3]}, perturbation_radius: {grid: [0.02]}}}",
        r"(?s)2 problems:.*lr_l\.num_perturbations: num_perturbations=6 has no effect .*"
        r"lr_l\.perturbation_radius: perturbation_radius=0\.04 has no effect",
    ),
    (
        {},
        "{lr_l: {pair_scale: {grid: [1]}, pair_weight: {grid: [0]}}}",
        r"stages\.lr_l\.pair_scale: pair_scale=2\.0 has no effect",
    ),
    (
        {"overrides": {"data": {"frames": 2}}},
        "{lr_l: {window_weight: {grid: [0]}}}",
        r"stages\.lr_l\.window_weight: window_weight=1\.0 needs clips .*set data\.frames=4",
    ),
]


@pytest.mark.parametrize(("values", "stages", "message"), REFUSED)
def test_an_axis_that_would_change_nothing_is_refused_by_name(
    tmp_path: Path, values: dict[str, Any], stages: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plan(space=write(tmp_path, stages), **values)


def test_an_axis_may_need_what_is_set_and_the_other_way_round(tmp_path: Path) -> None:
    counts = "{lr_l: {num_perturbations: {grid: [2, 4]}}}"
    found = plan(space=write(tmp_path, counts), overrides={"negatives": "both"})
    assert found.training.negatives == "both"
    weights = "{lr_l: {pair_weight: {grid: [1e-3, 1e-2]}}}"
    found = plan(space=write(tmp_path, weights), overrides={"num_perturbations": 4})
    assert found.protocol.stages[1].base["num_perturbations"] == 4
    # the baseline has no negatives to count
    assert found.protocol.stages[0].base["num_perturbations"] == 3
    windows = "{lr_l: {window_weight: {grid: [0.5, 1]}}}"
    found = plan(space=write(tmp_path, windows), overrides={"data": {"frames": 4}})
    assert found.training.window_weight == 1.0
    # the baseline is trained on the same clips
    assert {stage.base["data"]["frames"] for stage in found.protocol.stages} == {4}


@pytest.mark.parametrize(
    ("values", "stages"),
    [
        ({}, "{lr_l: {margin_scale: {grid: [1]}}}"),
        ({}, "{lr_l: {num_perturbations: {grid: [3]}, pair_weight: {grid: [0, 1e-3]}}}"),
        ({"objective": "nce"}, "{lr_l: {pair_weight: {grid: [0]}}}"),
        ({"overrides": {"negatives": "both"}}, "{lr_l: {num_perturbations: {grid: [3]}}}"),
        ({}, "{lr_p: {length_weight: {grid: [0]}}}"),
    ],
)
def test_a_default_may_be_an_axis_s_only_value_where_another_one_could_stand(
    tmp_path: Path, values: dict[str, Any], stages: str
) -> None:
    assert plan(space=write(tmp_path, stages), **values).space.name == "mine"


def test_what_the_space_tunes_cannot_be_set() -> None:
    with pytest.raises(ConfigurationError, match="--set num_perturbations: an option or the sear"):
        plan(space="negatives", overrides={"num_perturbations": 4})
    assert plan(overrides={"length_weight": 0.1}).training.length_weight == 0.1
    with pytest.raises(ConfigurationError, match="--set length_weight: an option or the search"):
        plan(space="constraints", overrides={"length_weight": 0.1})


def test_other_faults_of_the_training_do_not_blame_the_space() -> None:
    with pytest.raises(ConfigurationError, match=r"^training\.batch_size = 1: Input should be"):
        plan(space="negatives", overrides={"batch_size": 1})


def test_the_inputs_are_those_that_the_training_knows() -> None:
    field = GreedyConfig.model_fields["input"]
    assert get_args(field.annotation) == get_args(InputMechanism)
    with pytest.raises(ConfigurationError, match=r"--input = 'M5': Input should be 'M1', 'M2'"):
        asked(input="M5")


@pytest.mark.parametrize("backbone", get_args(BackboneName))
def test_a_preset_takes_the_space_of_the_backbone_where_there_is_one(backbone: str) -> None:
    assert default_space(asked(backbone=backbone, preset="paper")) == f"{backbone}-paper"
    assert default_space(asked(backbone=backbone, preset="quick")) == "quick"
    several = not BACKBONES[backbone].recipe.single_frame  # type: ignore[index] # a name of a net
    own = f"{backbone}-standard" if several else "standard"
    assert default_space(asked(backbone=backbone, preset="standard")) == own
    assert f"{backbone}-wide" in space_names()


def test_the_plan_s_cost_is_that_of_the_space() -> None:
    cost = describe_plan(plan(space="negatives", overrides={"steps_per_epoch": 2}))
    assert [stage["trials"] for stage in cost["stages"]] == [6, 16, 8]
    assert cost["stages"][1]["tunes"] == list(load_space("negatives").stages["lr_l"].names)


def test_steps_are_those_of_clips(tiny_dataset: PoseDataset) -> None:
    """A full epoch has every clip, and with `flip=double` its mirror image."""
    options = {"frames": 3, "width": 8, "depth": 1, "heads": 2}
    fields = {"batch_size": 4, "steps_per_epoch": None, "epochs": 2, "energy_poses": None}
    found = asked(backbone="mixste")
    overrides = {"backbone_options": options, "loss_net_options": {"hidden": 8}, **fields}
    found = found.model_copy(update={"overrides": overrides})
    poses = np.bincount(tiny_dataset.splits["train"].sequence)
    clips = {step: sum(-(-count // step) for count in poses.tolist()) for step in (3, 1)}
    for step, flips in ((3, 1), (3, 2), (1, 1)):
        flip = "double" if flips == 2 else "none"
        changed = {**overrides, "data": {"clip_step": step}, "flip": flip}
        cost = describe_plan(plan_greedy(found.model_copy(update={"overrides": changed})))
        steps = -(-flips * clips[step] // 4)
        assert {stage["steps"] for stage in cost["stages"]} == {2 * steps}


def test_long_clips_are_timed_by_shorter_ones_on_a_processor() -> None:
    net = {"backbone_options": {"width": 8, "depth": 1, "heads": 2}}
    config = plan_greedy(
        asked(backbone="mixste", preset="paper").model_copy(
            update={"overrides": {**net, "loss_net_options": {"hidden": 8}}}
        )
    ).training
    assert (config.batch_size, config.data.frames) == (4, 243)
    sizes = list(smaller_trainings(config))
    assert [(short.data.frames, factor) for short, factor in sizes] == [
        (9, 2 * 27),
        (27, 2 * 9),
        (243, 2),
    ]
    for short, _ in sizes:
        assert short.batch_size == 2
        assert short.backbone_options["frames"] == short.data.frames
    assert list(smaller_trainings(plan().training)) == []


LONG_ONLY: dict[str, dict[str, Any]] = {
    "mixste": {"backbone_options": {"frames": 15}, "window_weight": 0.1, "window_frames": 14},
    "poseformerv2": {
        "backbone_options": {"frames": 15, "kept_frames": 11, "kept_coefficients": 11}
    },
    "motionagformer": {"backbone_options": {"frames": 15, "neighbours": 12}},
}
"""Options that shorter clips than the net's own do not allow."""


@pytest.mark.parametrize("backbone", LONG_ONLY)
def test_options_that_need_long_clips_have_a_cost_as_well(backbone: str) -> None:
    fields = LONG_ONLY[backbone]
    options = {"width": 8, "depth": 1, "heads": 2, **fields["backbone_options"]}
    small = {"batch_size": 4, "energy_poses": 2, "loss_net_options": {"hidden": 8}}
    found = asked(backbone=backbone)
    changed = {**fields, **small, "backbone_options": options}
    cost = describe_plan(plan_greedy(found.model_copy(update={"overrides": changed})))
    assert cost["seconds"] > 0
    assert cost["pretraining"] is None


def test_a_pretraining_is_part_of_the_plan() -> None:
    options = {"frames": 3, "width": 8, "hidden": 8, "depth": 1, "heads": 2}
    fields = {"batch_size": 4, "energy_poses": 2, "pretraining": {"epochs": 79}}
    changed = {"backbone_options": options, "loss_net_options": {"hidden": 8}, **fields}
    found = asked(backbone="pstmo").model_copy(update={"overrides": changed})
    assert describe_plan(plan_greedy(found))["pretraining"] == {"epochs": 79}


def test_a_field_that_is_set_and_one_that_is_searched_make_the_same_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_dataset: PoseDataset
) -> None:
    monkeypatch.setattr(training_plan, "load_dataset", lambda *_, **__: tiny_dataset)
    extras = {"pair_weight": 1e-3, "num_perturbations": 4}
    axes = "{lr_l: {pair_weight: {grid: [0.001, 0.01]}, num_perturbations: {grid: [3, 4]}}}"
    found = plan(space=write(tmp_path, axes), input="M2")
    baseline, searched, _ = found.protocol.stages
    rates = {"lr_p": 2e-3, "lr_l": 1e-4, "alpha": 1e-3}
    request = {"backbone": "videopose", "seed": 7, **rates}
    asked_for = parse_training_request(
        {**request, "loss_net": "mlp", "input": "M2", "overrides": {**SMALL, **extras}}
    )
    trained = plan_training(asked_for).spec
    trial = TrialSpec(searched.base, {**rates, **extras}, seed=7)
    assert "pair_weight" in trained.base
    assert trained.fingerprint == trial.fingerprint
    del request["lr_l"], request["alpha"]
    options = {"backbone_options": SMALL["backbone_options"]}
    alone = parse_training_request({**request, "loss_net": "none", "overrides": options})
    trial = TrialSpec(baseline.base, {"lr_p": 2e-3}, seed=7)
    assert plan_training(alone).spec.fingerprint == trial.fingerprint
