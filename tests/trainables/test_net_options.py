"""Every option of a net's constructor changes what is trained, or is listed with a reason."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_args

import pytest
import torch

from tests.trainables.seal.conftest import SMALL_NETS
from tests.trainables.small_trainings import (
    DATASET,
    NO_LOSS_NET,
    SMALL_BACKBONES,
    configuration,
    of_backbone,
    train,
)
from trainables.backbones import BACKBONES
from trainables.config import BackboneName
from trainables.data.reduction import leave_out_neck
from trainables.loss_nets import LOSS_NETS

Values = tuple[Any, Any]

TRANSFORMER: Mapping[str, Values] = {
    "frames": (3, 9),
    "width": (8, 16),
    "depth": (2, 3),
    "heads": (2, 4),
    "mlp_ratio": (2.0, 1.0),
    "drop_path": (0.5, 0.9),
}
NET_OPTIONS: Mapping[str, Mapping[str, Values]] = {
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
    "mixste": TRANSFORMER,
    "pstmo": {
        "frames": (3, 9),
        "width": (8, 16),
        "hidden": (8, 16),
        "depth": (1, 2),
        "heads": (2, 4),
        "strides": ((3,), (1, 3)),
        "dropout": (0.1, 0.5),
        "centred": (False, True),
        "output_scale": (1.0, 0.5),
    },
    "poseformerv2": {
        **TRANSFORMER,
        "frames": (5, 9),
        "kept_frames": (3, 1),
        "kept_coefficients": (3, 1),
        "split_at_half": (False, True),
        "output_scale": (1.0, 0.5),
    },
    "d3dp": {**TRANSFORMER, "denoiser": ("mixste", "ktpformer"), "steps": (1000, 10)},
    "ktpformer": {**TRANSFORMER, "output_scale": (1.0, 0.5)},
    "motionagformer": {
        **TRANSFORMER,
        "head_width": (8, 16),
        "neighbours": (2, 1),
        "graph": ("tree", "official"),
        "confidence": (True, False),
        "output_scale": (1.0, 0.5),
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
"""Two values of every option."""

CONTEXT: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("poseformerv2", "split_at_half"): {"kept_frames": 3, "kept_coefficients": 1},
}
"""Options that another one has an effect with only."""

GIVEN = {"num_joints", "skeleton", "input"}
"""Arguments that the data or another field of the configuration decide."""

TRAINING_LEFT_ALONE: Mapping[tuple[str, str], str] = {
    ("d3dp", "noise_seed"): "the sampler's: what is measured, not what is trained",
    ("ktpformer", "input_channels"): "poses have two; other numbers are for other nets around it",
}
"""Options that do not change the training."""


@pytest.mark.parametrize("name", NET_OPTIONS)
def test_every_option_of_a_net_has_values_here(name: str) -> None:
    entry = BACKBONES.get(name) or LOSS_NETS[name]  # type: ignore[call-overload, index]
    listed = {option for net, option in TRAINING_LEFT_ALONE if net == name}
    expected = set(NET_OPTIONS[name]) | listed | (GIVEN & set(_options(entry.build)))
    assert set(_options(entry.build)) == expected


def test_all_nets_are_here() -> None:
    assert set(NET_OPTIONS) == {*BACKBONES, *LOSS_NETS}
    assert set(SMALL_BACKBONES) == set(get_args(BackboneName))


CASES = [(name, option) for name, options in NET_OPTIONS.items() for option in options]


@pytest.mark.parametrize(("name", "option"), CASES, ids="-".join)
def test_every_option_of_a_net_changes_the_training(name: str, option: str) -> None:
    dataset = leave_out_neck(DATASET) if option == "non_local" else DATASET
    context = CONTEXT.get((name, option), {})
    first, second = (
        train(configuration(_fields(name, {**context, option: value})), dataset)
        for value in NET_OPTIONS[name][option]
    )
    assert not torch.equal(first[0], second[0])
    assert first[1] != second[1]


def test_the_seed_of_the_noise_changes_the_figures_alone() -> None:
    nets = (configuration(_fields("d3dp", {"noise_seed": seed})) for seed in (0, 1))
    first, second = (train(config) for config in nets)
    assert torch.equal(first[0], second[0])
    assert first[1] != second[1]


@pytest.mark.parametrize("name", ["mixste", "pstmo", "ktpformer", "motionagformer"])
def test_the_authors_own_loss_is_another_one(name: BackboneName) -> None:
    fields = of_backbone(name) | dict(NO_LOSS_NET)
    results = [
        train(configuration({**fields, "pose_loss": loss}))[0] for loss in ("backbone", "mpjpe")
    ]
    assert not torch.equal(*results)


@pytest.mark.parametrize("name", ["poseformerv2", "d3dp"])
def test_the_authors_own_loss_is_the_distance(name: BackboneName) -> None:
    fields = of_backbone(name) | dict(NO_LOSS_NET)
    results = [
        train(configuration({**fields, "pose_loss": loss}))[0] for loss in ("backbone", "mpjpe")
    ]
    assert torch.equal(*results)


def _options(build: Any) -> list[str]:
    return list(inspect.signature(build).parameters)


def _fields(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if name in SMALL_BACKBONES:
        return of_backbone(name, **options)  # type: ignore[arg-type] # a name of a net
    return {"loss_net": name, "loss_net_options": {**SMALL_NETS[name], **options}}
