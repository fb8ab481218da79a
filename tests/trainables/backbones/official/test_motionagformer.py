"""Checkpoints that MotionAGFormer's authors would publish become ours."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.backbones.check_values import (
    synthetic,
)
from tests.trainables.backbones.test_motionagformer import STREAMS, small
from trainables.backbones.motionagformer import MotionAGFormer
from trainables.backbones.official.motionagformer import convert_motionagformer
from trainables.errors import CheckpointError
from trainables.skeletons import (
    MPI_INF_3DHP_17,
)


def official(depth: int, width: int, frames: int, head: int = 512) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint of its authors."""
    linears: dict[str, tuple[int, ...]] = {
        "joints_embed": (width, 3),
        "norm": (width,),
        "rep_logit.fc": (head, width),
        "head": (3, head),
    }
    shapes: dict[str, tuple[int, ...]] = {"pos_embed": (1, 17, width)}
    for layer in (f"layers.{i}" for i in range(depth)):
        linears[f"{layer}.fusion"] = (2, 2 * width)
        for stream in (f"{layer}.{name}" for name in STREAMS):
            linears |= {
                f"{stream}.norm1": (width,),
                f"{stream}.norm2": (width,),
                f"{stream}.mlp.fc1": (4 * width, width),
                f"{stream}.mlp.fc2": (width, 4 * width),
            }
            shapes |= {f"{stream}.layer_scale_1": (width,), f"{stream}.layer_scale_2": (width,)}
            mixer = f"{stream}.mixer"
            if ".att_" in mixer:
                shapes[f"{mixer}.qkv.weight"] = (3 * width, width)
                linears[f"{mixer}.proj"] = (width, width)
                continue
            nodes = 17 if "spatial" in mixer else frames
            linears |= {f"{mixer}.U": (width, width), f"{mixer}.V": (width, width)}
            linears[f"{mixer}.batch_norm"] = (nodes,)
            shapes[f"{mixer}.batch_norm.running_mean"] = (nodes,)
            shapes[f"{mixer}.batch_norm.running_var"] = (nodes,)
            shapes[f"{mixer}.batch_norm.num_batches_tracked"] = ()
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_become_ours(prefix: str) -> None:
    state = synthetic(official(depth=2, width=8, frames=6, head=16))
    net = small(skeleton=MPI_INF_3DHP_17, graph="official")
    net.load_state_dict(convert_motionagformer({prefix + n: v for n, v in state.items()}))
    ours = net.state_dict()
    assert len(ours) == len(state)
    for theirs, name in (
        ("rep_logit.fc.weight", "rep_logit.weight"),
        ("layers.1.graph_temporal.mixer.batch_norm.running_var",) * 2,
        ("layers.0.att_temporal.mixer.qkv.weight",) * 2,
        ("layers.1.fusion.bias",) * 2,
        ("pos_embed",) * 2,
    ):
        assert torch.equal(ours[name], state[theirs]), name


def test_full_size_official_checkpoints_fit() -> None:
    with torch.device("meta"):
        net = MotionAGFormer(skeleton=MPI_INF_3DHP_17, graph="official")
        shapes = official(depth=26, width=128, frames=81)
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    net.load_state_dict(convert_motionagformer(state), assign=True)


def test_what_is_unknown_or_missing_is_listed() -> None:
    state = synthetic(official(depth=1, width=8, frames=6))
    state["temp_embed"] = state.pop("pos_embed")
    message = "MotionAGFormer: 1 unknown: temp_embed; 1 missing: pos_embed"
    with pytest.raises(CheckpointError, match=message):
        convert_motionagformer(state)
