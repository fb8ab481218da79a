"""Checkpoints that P-STMO's authors would publish become ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.backbones.check_values import (
    synthetic,
)
from tests.trainables.backbones.test_pstmo import small, small_masked
from trainables.backbones.official.pstmo import convert_masked_pstmo, convert_pstmo
from trainables.errors import CheckpointError


def official_parts(
    linear: Mapping[str, tuple[int, ...]], norms: Mapping[str, int], batch_norms: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, size in norms.items():
        shapes |= {f"{name}.a_2": (size,), f"{name}.b_2": (size,)}
    for name, size in batch_norms.items():
        for kind in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{kind}"] = (size,)
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


def official_stack(prefix: str, depth: int, c: int, h: int, strided: bool) -> dict[str, Any]:
    linear: dict[str, tuple[int, ...]] = {}
    norms = {f"{prefix}.norm": c}
    for i in range(depth):
        layer = f"{prefix}.layers.{i}"
        linear |= {f"{layer}.self_attn.linears.{k}": (c, c) for k in range(4)}
        linear[f"{layer}.feed_forward.w_1"] = (h, c, 1) if strided else (h, c)
        linear[f"{layer}.feed_forward.w_2"] = (c, h, 3) if strided else (c, h)
        norms |= {f"{layer}.sublayer.{k}.norm": c for k in range(2)}
    return official_parts(linear, norms, {})


def official_shared(c: int = 16, h: int = 24, joints: int = 5) -> dict[str, tuple[int, ...]]:
    linear = {
        "encoder.fc_1": (2 * c, 2 * joints, 1),
        "encoder.layers.0.w1": (2 * c, 2 * c, 1),
        "encoder.layers.0.w2": (2 * c, 2 * c, 1),
        "encoder.fc_2": (c, 2 * c, 1),
    }
    batch_norms = dict.fromkeys(
        ("encoder.bn_1", "encoder.layers.0.batch_norm1", "encoder.layers.0.batch_norm2"), 2 * c
    )
    return {
        "Transformer.pos_embedding": (1, 27, c),
        **official_parts(linear, {}, batch_norms),
        **official_stack("Transformer.model", 3, c, h, strided=False),
    }


def official_net() -> dict[str, Tensor]:
    heads = {"fcn.1": (15, 16, 1), "fcn_1.1": (15, 16, 1)}
    return synthetic(
        {
            **official_shared(),
            **official_stack("Transformer_reduce.model", 3, 16, 24, strided=True),
            **{f"Transformer_reduce.model.pos_embedding_{i}": (1, 27, 16) for i in (1, 2, 3)},
            **official_parts(heads, {}, {"fcn.0": 16, "fcn_1.0": 16}),
        }
    )


def official_masked() -> dict[str, Tensor]:
    return synthetic(
        {
            **official_shared(),
            **official_stack("Transformer_dec.model", 2, 8, 12, strided=False),
            **official_parts({"fcn_dec.1": (10, 8, 1)}, {"encoder_LN": 16}, {"fcn_dec.0": 8}),
            "encoder_to_decoder.weight": (8, 16),
            "dec_pos_embedding": (1, 27, 8),
            "mask_token": (1, 1, 8),
            "spatial_mask_token": (1, 1, 2),
        }
    )


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_load(prefix: str) -> None:
    official = official_net()
    net = small()
    net.load_state_dict(convert_pstmo({f"{prefix}{k}": v for k, v in official.items()}))
    layer = net.strided.layers[1]
    reduce = "Transformer_reduce.model"
    for ours, theirs in (
        (net.encoder.fc2.weight, "encoder.layers.0.w2.weight"),
        (
            net.temporal.layers[2].attention.keys.weight,
            "Transformer.model.layers.2.self_attn.linears.1.weight",
        ),
        (layer.attention.out.bias, f"{reduce}.layers.1.self_attn.linears.3.bias"),
        (layer.norm2.weight, f"{reduce}.layers.1.sublayer.1.norm.a_2"),
        (layer.shrink.weight, f"{reduce}.layers.1.feed_forward.w_2.weight"),
        (net.strided.tables[2], f"{reduce}.pos_embedding_3"),
        (net.middle_head.weight, "fcn.1.weight"),
        (net.all_norm.running_var, "fcn_1.0.running_var"),
    ):
        assert torch.equal(ours.flatten(), official[theirs].flatten())


def test_official_pretraining_loads_and_hands_on_its_74_entries() -> None:
    assert len(official_shared()) == 74
    converted = convert_masked_pstmo(official_masked())
    small_masked().load_state_dict(converted)
    net = small()
    net.load_pretrained(converted)
    assert torch.equal(net.temporal.table, converted["temporal.table"])


def test_other_checkpoints_are_refused_with_their_differences() -> None:
    official = official_net()
    del official["fcn_1.1.bias"]
    official["nose"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"unknown: nose.*missing: fcn_1.1.bias"):
        convert_pstmo(official)
    with pytest.raises(CheckpointError, match=r"unknown: .*missing: Transformer_dec"):
        convert_masked_pstmo(official_net())
    wide = official_net()
    wide["fcn.1.weight"] = torch.zeros(15, 16, 3)
    with pytest.raises(CheckpointError, match=r"middle_head.weight has shape \(15, 16, 3\)"):
        convert_pstmo(wide)
