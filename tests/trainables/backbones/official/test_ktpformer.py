"""Checkpoints that KTPFormer's authors would publish become ours."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.backbones.check_values import (
    synthetic,
)
from tests.trainables.backbones.test_ktpformer import small
from trainables.backbones.ktpformer import KTPFormer
from trainables.backbones.official.ktpformer import (
    FIRST_STAGE,
    convert_ktpformer,
    ktpformer_names,
)
from trainables.errors import CheckpointError
from trainables.skeletons import H36M_17


def official(depth: int, width: int, frames: int, joints: int = 17) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint as its authors' would have, but for the first stage."""
    shapes: dict[str, tuple[int, ...]] = {
        "Spatial_pos_embed": (1, joints, width),
        "Temporal_pos_embed": (1, frames, width),
    }
    for unit, inputs, nodes in (
        (FIRST_STAGE["kpa"], 2, joints),
        (FIRST_STAGE["tpa1"], width, frames),
        (FIRST_STAGE["tpa2"], width, frames),
    ):
        shapes |= {
            f"{unit}.gconv.W": (2, inputs, width),
            f"{unit}.gconv.M": (nodes, width),
            f"{unit}.gconv.adj2": (nodes, nodes),
            f"{unit}.gconv.bias": (width,),
            f"{unit}.bn.num_batches_tracked": (),
        }
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{unit}.bn.{name}"] = (width,)
    blocks = [f"{stack}.{i}" for stack in ("STEblocks", "TTEblocks") for i in range(depth)]
    for block in (*blocks, FIRST_STAGE["spatial_blocks.0"], FIRST_STAGE["temporal_blocks.0"]):
        for layer, outputs, inputs in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 2 * width, width),
            ("mlp.fc2", width, 2 * width),
        ):
            shapes[f"{block}.{layer}.weight"] = (outputs, inputs)
            shapes[f"{block}.{layer}.bias"] = (outputs,)
        for kind in ("weight", "bias"):
            shapes |= {f"{block}.norm1.{kind}": (width,), f"{block}.norm2.{kind}": (width,)}
    for norm in ("Spatial_norm", "Temporal_norm", "head.0"):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return shapes | {"head.1.weight": (3, width), "head.1.bias": (3,)}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_become_ours(prefix: str) -> None:
    state = synthetic(official(depth=2, width=8, frames=6))
    net = small(skeleton=H36M_17)
    net.load_state_dict(convert_ktpformer({prefix + name: v for name, v in state.items()}))
    ours = net.state_dict()
    assert len(ours) == len(state)
    for theirs, name in (
        ("STEblocks.1.attn.qkv.weight", "spatial_blocks.2.attn.qkv.weight"),
        ("TTEblocks.0.mlp.fc2.bias", "temporal_blocks.1.mlp.fc2.bias"),
        ("Spatial_norm.weight", "spatial_norm.weight"),
        ("Temporal_pos_embed", "temporal_pos_embed"),
        (f"{FIRST_STAGE['kpa']}.gconv.adj2", "kpa.gconv.Q"),
        (f"{FIRST_STAGE['tpa2']}.bn.running_var", "tpa2.bn.running_var"),
        ("head.1.weight", "head.weight"),
    ):
        assert torch.equal(ours[name], state[theirs]), name


def test_full_size_official_checkpoints_fit() -> None:
    with torch.device("meta"):
        net = KTPFormer(skeleton=H36M_17)
        shapes = official(depth=7, width=512, frames=243)
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    net.load_state_dict(convert_ktpformer(state), assign=True)


def test_other_names_of_the_first_stage_are_taken() -> None:
    names = {ours: f"first.{ours.replace('.', '_')}" for ours in FIRST_STAGE}
    ours = small(skeleton=H36M_17).state_dict()
    official_of = {ours: theirs for theirs, ours in ktpformer_names(2, names).items()}
    state = {official_of[name]: value for name, value in ours.items()}
    converted = convert_ktpformer(state, first_stage=names)
    assert set(converted) == set(ours)
    assert all(torch.equal(converted[name], value) for name, value in ours.items())
    with pytest.raises(CheckpointError, match=r"unknown: first\.kpa\.bn\.bias"):
        convert_ktpformer(state)


def test_what_is_unknown_or_missing_is_listed() -> None:
    state = synthetic(official(depth=1, width=8, frames=6))
    state["head.2.weight"] = state.pop("head.1.weight")
    message = r"KTPFormer: 1 unknown: head\.2\.weight; 1 missing: head\.1\.weight"
    with pytest.raises(CheckpointError, match=message):
        convert_ktpformer(state)
