"""What presets set for a net and a data set, down to the configuration that is trained."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, get_args

import pytest

from tests.trainables.seal.conftest import tiny_dataset
from trainables.backbones import BACKBONES
from trainables.builders import build_backbone
from trainables.config import BackboneName, DatasetName, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.seal.lifting import window_of
from trainables.skeletons import H36M_17, MPI_INF_3DHP_17, Skeleton
from tuner.errors import ConfigurationError
from tuner.greedy_config import parse_greedy_config
from tuner.presets import PRESETS, PresetName
from tuner.wiring import plan as planning
from tuner.wiring import training_plan
from tuner.wiring.plan import plan_greedy
from tuner.wiring.preset_fields import default_rate, preset_notes, preset_training
from tuner.wiring.training_plan import plan_training
from tuner.wiring.training_request import parse_training_request

__all__ = ["tiny_dataset"]

SINGLE_FRAME = tuple(name for name, entry in BACKBONES.items() if entry.recipe.single_frame)
PAPER = {"sample": (1024, 50), "h36m": (1024, 50), "mpi_inf_3dhp": (1024, 50), "h3wb": (64, 200)}


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch: pytest.MonkeyPatch, tiny_dataset: PoseDataset) -> None:
    """Plans are made on 50 synthetic poses, whatever the data set's name."""
    for module in (planning, training_plan):
        monkeypatch.setattr(module, "load_dataset", lambda *_, **__: tiny_dataset)


def asked(dataset: str, **values: Any) -> dict[str, Any]:
    return {"backbone": "simplebaseline", "dataset": dataset, "preset": "paper", **values}


@pytest.mark.parametrize("dataset", PAPER)
def test_the_paper_s_batch_and_epochs_reach_search_and_training(dataset: str) -> None:
    searched = plan_greedy(parse_greedy_config(asked(dataset))).training
    trained = plan_training(parse_training_request(asked(dataset))).training
    for training in (searched, trained):
        assert (training.batch_size, training.epochs) == PAPER[dataset]


def test_what_is_asked_for_comes_before_the_preset() -> None:
    fields = asked("h3wb", epochs=3, overrides={"batch_size": 16})
    searched = plan_greedy(parse_greedy_config(fields)).training
    trained = plan_training(parse_training_request(fields)).training
    for training in (searched, trained):
        assert (training.batch_size, training.epochs) == (16, 3)


@pytest.mark.parametrize("backbone", SINGLE_FRAME)
def test_other_presets_of_single_frames_are_the_same_for_all_data_sets(backbone: str) -> None:
    for name in ("quick", "standard"):
        preset = PRESETS[name]
        for dataset in get_args(DatasetName):
            fields = preset_training(preset, backbone, dataset)
            assert fields == {**preset.training, "data": dict(preset.data)}


def training(
    backbone: str, preset: PresetName, dataset: str = "h36m", **chosen: Any
) -> TrainingConfig:
    """What `preset_training` gives, with the fields that options decide."""
    data = {**chosen.pop("data", {}), "name": dataset}
    fields = preset_training(PRESETS[preset], backbone, dataset, {**chosen, "data": data})
    rates = {"lr_p": 1e-4, "lr_l": 1e-4, "alpha": 1e-3}
    return TrainingConfig.model_validate({**fields, "backbone": backbone, **rates})


@pytest.mark.parametrize("dataset", get_args(DatasetName))
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("backbone", get_args(BackboneName))
def test_every_recipe_is_a_training(backbone: BackboneName, preset: Any, dataset: str) -> None:
    config = training(backbone, preset, dataset)
    assert config.without_loss_net().loss_net == "none"
    entry = BACKBONES[backbone]
    net = build_backbone(config, skeleton_of(dataset)) if preset == "quick" else None
    frames = config.data.frames
    if entry.recipe.single_frame:
        assert frames == 1
    elif net is not None:
        assert window_of(net).frames == frames < entry.frames
    else:
        assert frames == entry.frames
        assert set(config.backbone_options) <= {"output_scale"}


def skeleton_of(dataset: str) -> Skeleton:
    return MPI_INF_3DHP_17 if dataset == "mpi_inf_3dhp" else H36M_17


# backbones.md, section 11: optimizer, weight decay, decay, clips, epochs, frames, step, root
OFFICIAL: Mapping[tuple[BackboneName, str], tuple[Any, ...]] = {
    ("mixste", "h36m"): ("adamw", 0.1, 0.99, 4, 120, 243, 243, False),
    ("pstmo", "mpi_inf_3dhp"): ("amsgrad", 0.0, 0.97, 160, 79, 81, 1, True),
    ("poseformerv2", "h36m"): ("adamw", 0.1, 0.99, 1024, 200, 27, 1, False),
    ("poseformerv2", "mpi_inf_3dhp"): ("amsgrad", 0.0, 0.97, 512, 79, 27, 1, True),
    ("d3dp", "h36m"): ("adamw", 0.1, 0.993, 4, 400, 243, 243, True),
    ("d3dp", "mpi_inf_3dhp"): ("adamw", 0.1, 0.993, 4, 400, 243, 243, True),
    ("ktpformer", "h36m"): ("adamw", 0.1, 0.99, 8, 200, 243, 243, False),
    ("motionagformer", "mpi_inf_3dhp"): ("amsgrad", 0.0, 0.99, 16, 90, 81, 9, True),
    ("motionagformer", "h36m"): ("amsgrad", 0.0, 0.99, 16, 90, 81, 9, True),
}


@pytest.mark.parametrize(("backbone", "dataset"), OFFICIAL)
def test_the_paper_preset_is_the_authors_recipe(backbone: str, dataset: str) -> None:
    config = training(backbone, "paper", dataset)
    found = (
        *(config.optimizer, config.weight_decay, config.lr_decay),
        *(config.batch_size, config.epochs, config.data.frames, config.data.clip_step),
        config.zero_root,
    )
    assert found == OFFICIAL[backbone, dataset]  # type: ignore[index] # a name of a net
    assert config.pose_loss == "backbone"
    assert config.eval_flip
    assert config.flip == ("random" if backbone == "motionagformer" else "double")
    assert config.energy_poses is None
    assert config.steps_per_epoch is None


def test_what_else_the_authors_do_on_a_data_set() -> None:
    d3dp = {name: training("d3dp", "paper", name) for name in ("h36m", "mpi_inf_3dhp")}
    assert {c.test_hypotheses for c in d3dp.values()} == {20}
    assert [c.test_iterations for c in d3dp.values()] == [10, 20]
    for name, scale in (("h36m", 1.0), ("mpi_inf_3dhp", 0.001)):
        for net in ("pstmo", "poseformerv2"):
            options = training(net, "paper", name).backbone_options
            assert options.get("output_scale", 1.0) == scale
    masked = training("pstmo", "paper", "mpi_inf_3dhp").pretraining
    assert (masked.epochs, masked.lr, masked.masked_frames, masked.masked_joints) == (
        *(79, 1e-4, 0.7, 2),
    )
    assert training("motionagformer", "paper", "mpi_inf_3dhp").test_windows == "sliding"
    assert training("motionagformer", "paper", "h36m").test_windows == "touching"


@pytest.mark.parametrize(
    ("backbone", "clips", "energy"),
    [
        ("mixste", 4, 1),
        ("ktpformer", 8, 1),
        ("motionagformer", 16, 3),
        ("pstmo", 160, None),
        ("poseformerv2", 1024, 256),
    ],
)
def test_standard_shortens_the_recipe_alone(backbone: str, clips: int, energy: int | None) -> None:
    config = training(backbone, "standard")
    full = training(backbone, "paper")
    assert (config.batch_size, config.epochs, config.energy_poses) == (clips, 20, energy)
    assert config.pretraining.epochs == (20 if backbone == "pstmo" else 0)
    shortened = {"epochs", "energy_poses", "pretraining"}
    assert config.model_dump(exclude=shortened) == full.model_dump(exclude=shortened)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_user_s_choice_comes_first_part_within_part(preset: Any) -> None:
    options, data = {"depth": 3}, {"max_eval_poses": 7}
    config = training("mixste", preset, backbone_options=options, data=data, batch_size=5)
    plain = training("mixste", preset)
    assert config.backbone_options == {**plain.backbone_options, "depth": 3}
    assert config.data.max_eval_poses == 7
    assert config.data.frames == plain.data.frames
    assert config.batch_size == 5
    assert config.optimizer == "adamw"


@pytest.mark.parametrize(
    ("backbone", "preset", "step"),
    [
        ("mixste", "paper", 81),
        ("mixste", "quick", 3),
        ("poseformerv2", "paper", 1),
        ("motionagformer", "standard", 9),
    ],
)
def test_window_and_clips_go_together(backbone: str, preset: Any, step: int) -> None:
    either: list[dict[str, Any]] = [{"backbone_options": {"frames": 81}}, {"data": {"frames": 81}}]
    for chosen in either:
        config = training(backbone, preset, **chosen)
        assert config.backbone_options["frames"] == config.data.frames == 81
        assert config.data.clip_step == step
    config = training(backbone, preset, data={"frames": 81, "clip_step": 27})
    assert config.data.clip_step == 27


MISMATCHES = [
    ("mixste", {"backbone_options": {"frames": 27}, "data": {"frames": 9}}, "clips of 27 frames"),
    ("mixste", {"backbone_options": {"frames": 9}, "data": {"frames": 27}}, "clips of 9 frames"),
    ("mixste", {"backbone_options": {"frames": 9}, "data": {"frames": 1}}, "clips of 9 frames"),
    ("pstmo", {"backbone_options": {"frames": 27}, "data": {"frames": 9}}, "of 27 frames|27"),
    ("pstmo", {"backbone_options": {"frames": 9}, "data": {"frames": 11}}, "clips of .*9 frames"),
    ("poseformerv2", {"backbone_options": {"frames": 9}, "data": {"frames": 3}}, "9 frames|9"),
]


@pytest.mark.parametrize(("backbone", "chosen", "message"), MISMATCHES)
def test_clips_that_do_not_fit_the_window_are_refused_before_anything_runs(
    backbone: str, chosen: dict[str, Any], message: str
) -> None:
    fields = {"backbone": backbone, "preset": "quick", "overrides": chosen}
    for plan in (
        lambda: plan_greedy(parse_greedy_config(fields)),
        lambda: plan_training(parse_training_request(fields)),
    ):
        with pytest.raises(ConfigurationError, match=rf"(?s){backbone}.*({message})"):
            plan()


def test_loose_poses_are_refused_by_multi_frame_nets(
    monkeypatch: pytest.MonkeyPatch, tiny_dataset: PoseDataset
) -> None:
    loose = tuple(dataclasses.replace(info, ordered=False) for info in tiny_dataset.sequences)
    dataset = dataclasses.replace(tiny_dataset, sequences=loose)
    monkeypatch.setattr(planning, "load_dataset", lambda *_, **__: dataset)
    fields = {"backbone": "poseformerv2", "dataset": "h3wb"}
    with pytest.raises(ConfigurationError, match=r"are loose poses.* use a single-frame backbone"):
        plan_greedy(parse_greedy_config(fields))


@pytest.mark.parametrize(
    ("backbone", "dataset", "preset", "rate"),
    [
        ("videopose", "sample", "quick", 1e-3),
        ("semgcn", "h3wb", "paper", 1e-3),
        ("mixste", "h36m", "standard", 4e-5),
        ("mixste", "h36m", "quick", 1e-3),
        ("pstmo", "mpi_inf_3dhp", "paper", 7e-4),
        ("pstmo", "h36m", "paper", 7e-4),
        ("poseformerv2", "mpi_inf_3dhp", "paper", 7e-4),
        ("poseformerv2", "sample", "paper", 1e-4),
        ("d3dp", "h36m", "paper", 6e-5),
        ("ktpformer", "h36m", "paper", 8e-5),
        ("motionagformer", "mpi_inf_3dhp", "paper", 5e-4),
    ],
)
def test_a_training_takes_the_authors_rate_unless_one_is_asked_for(
    backbone: str, dataset: str, preset: Any, rate: float
) -> None:
    assert default_rate(PRESETS[preset], backbone, dataset) == rate
    fields = {"backbone": backbone, "preset": preset, "dataset": dataset}
    if BACKBONES[backbone].recipe.single_frame:  # type: ignore[index] # a name of a net
        assert plan_training(parse_training_request(fields)).training.lr_p == rate
        chosen = plan_training(parse_training_request({**fields, "lr_p": 0.5})).training
        assert chosen.lr_p == 0.5


def test_quick_says_that_it_trains_a_smaller_net() -> None:
    for plan in (
        plan_greedy(parse_greedy_config({"backbone": "mixste"})),
        plan_training(parse_training_request({"backbone": "mixste"})),
    ):
        note = plan.notes[0]
        assert re.fullmatch(
            r"preset quick: mixste of 0\.14 M parameters at T = 9 instead of 33\.8 M at "
            r"T = 243; --preset standard trains the published net",
            note,
        )
    assert not plan_greedy(parse_greedy_config({"backbone": "videopose"})).notes
    assert not preset_notes("standard", training("pstmo", "standard"), H36M_17)
    full: dict[str, Any] = {"backbone_options": {"frames": 27, "width": 32, "depth": 4}}
    assert not preset_notes("quick", training("poseformerv2", "quick", **full), H36M_17)
