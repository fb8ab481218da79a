"""Small checkpoints under the names of the nets' authors, and the nets that they are.

The renaming here is written anew, as rules in order, to check that of the product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tests.trainables.backbones.check_values import official_mixste, synthetic
from tests.trainables.backbones.official.test_d3dp import official_d3dp, with_tables
from tests.trainables.backbones.official.test_ktpformer import official as official_ktpformer
from tests.trainables.backbones.official.test_motionagformer import (
    official as official_motionagformer,
)
from tests.trainables.backbones.official.test_pstmo import (
    official_parts,
    official_shared,
    official_stack,
)
from tests.trainables.backbones.test_poseformerv2 import official_shapes as official_poseformerv2
from trainables.backbones import (
    D3DP,
    PSTMO,
    KTPFormer,
    MixSTE,
    MotionAGFormer,
    PoseFormerV2,
    SemGCN,
    SimpleBaseline,
    VideoPose,
)
from trainables.backbones.official.d3dp import OFFICIAL_BUFFERS
from trainables.config import BackboneName
from trainables.skeletons import H36M_16, H36M_17

__all__ = ["PUBLISHED", "Published", "semgcn_shapes", "simplebaseline_shapes", "videopose_shapes"]

Shapes = dict[str, tuple[int, ...]]
_MIXSTE_RULES = {
    r"STEblocks": "blocks.spatial_blocks",
    r"TTEblocks": "blocks.temporal_blocks",
    r"Spatial_pos_embed": "blocks.spatial_table",
    r"Temporal_pos_embed": "blocks.temporal_table",
    r"Spatial_patch_to_embedding": "embed",
    r"Spatial_norm": "blocks.spatial_norm",
    r"Temporal_norm": "blocks.temporal_norm",
    r"head\.0": "blocks.head_norm",
    r"head\.1": "blocks.head",
}


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
        shapes: Official names and shapes.
        build: The net that it is.
        rules: Patterns in official names and what stands there in ours, applied in order.
        entry: Entry of the file.
        frames: Frames of an input.
        joints: Joints.
        options: What `tuner import-weights` has to be told.
        add: What the file holds beside the shapes.
    """

    shapes: Shapes
    build: Callable[[], nn.Module]
    rules: Mapping[str, str] = field(default_factory=dict)
    entry: str = "model_pos"
    frames: int = 1
    joints: int = 17
    options: tuple[str, ...] = ()
    add: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict

    def state(self) -> dict[str, Tensor]:
        """Random entries, with statistics that a norm can have."""
        state = synthetic(self.shapes)
        for name, value in state.items():
            if name.endswith("running_var"):
                state[name] = value.abs() + 0.5
            if name.endswith("num_batches_tracked"):
                state[name] = torch.tensor(7)
        return self.add(state)

    def net(self) -> nn.Module:
        """The net with these tensors set directly."""
        net = self.build().eval()
        own = net.state_dict()
        found = {name: v for name, v in self.state().items() if name not in OFFICIAL_BUFFERS}
        renamed = {self._ours(name): value for name, value in found.items()}
        net.load_state_dict({n: value.reshape(own[n].shape) for n, value in renamed.items()})
        return net

    def _ours(self, name: str) -> str:
        for pattern, replacement in self.rules.items():
            name = re.sub(pattern, replacement, name)
        return name


def batch_norm(name: str, size: int) -> Shapes:
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (size,) for kind in kinds} | {f"{name}.num_batches_tracked": ()}


def videopose_shapes(widths: tuple[int, ...], channels: int, joints: int = 17) -> Shapes:
    shapes: Shapes = {
        "expand_conv.weight": (channels, 2 * joints, widths[0]),
        **batch_norm("expand_bn", channels),
        "shrink.weight": (3 * joints, channels, 1),
        "shrink.bias": (3 * joints,),
    }
    for block, width in enumerate(widths[1:]):
        for layer, kernel in ((2 * block, width), (2 * block + 1, 1)):
            shapes[f"layers_conv.{layer}.weight"] = (channels, channels, kernel)
            shapes |= batch_norm(f"layers_bn.{layer}", channels)
    return shapes


def simplebaseline_shapes(inputs: int, outputs: int, channels: int = 8, stages: int = 3) -> Shapes:
    shapes: Shapes = {
        "w1.weight": (channels, inputs),
        "w1.bias": (channels,),
        "w2.weight": (outputs, channels),
        "w2.bias": (outputs,),
        **batch_norm("batch_norm1", channels),
    }
    for stage in (f"linear_stages.{i}" for i in range(stages)):
        for number in (1, 2):
            shapes[f"{stage}.w{number}.weight"] = (channels, channels)
            shapes[f"{stage}.w{number}.bias"] = (channels,)
            shapes |= batch_norm(f"{stage}.batch_norm{number}", channels)
    return shapes


def semgcn_shapes(*, stages: int = 2, channels: int = 8, non_local: bool = False) -> Shapes:
    """Of the 16 joints that its authors have."""

    def convolution(name: str, inputs: int, outputs: int) -> Shapes:
        return {
            f"{name}.W": (2, inputs, outputs),
            f"{name}.e": (1, 46),
            f"{name}.bias": (outputs,),
        }

    def unit(name: str, inputs: int) -> Shapes:
        return convolution(f"{name}.gconv", inputs, channels) | batch_norm(f"{name}.bn", channels)

    def attention(name: str) -> Shapes:
        half = channels // 2
        maps = {"g.0": (half, channels, 1), "theta": (half, channels, 1)}
        maps |= {"phi.0": (half, channels, 1), "W.0": (channels, half, 1)}
        shapes: Shapes = {f"{name}.concat_project.0.weight": (1, 2 * half, 1, 1)}
        for layer, shape in maps.items():
            shapes |= {f"{name}.{layer}.weight": shape, f"{name}.{layer}.bias": shape[:1]}
        return shapes | batch_norm(f"{name}.W.1", channels)

    shapes = unit("gconv_input.0", 2) | convolution("gconv_output", channels, 3)
    if non_local:
        shapes |= attention("gconv_input.1.nonlocal")
    for stage in range(stages):
        place = 2 * stage if non_local else stage
        for half in ("gconv1", "gconv2"):
            shapes |= unit(f"gconv_layers.{place}.{half}", channels)
        if non_local:
            shapes |= attention(f"gconv_layers.{place + 1}.nonlocal")
    return shapes


def pstmo_shapes() -> Shapes:
    return {
        **official_shared(c=16, h=24, joints=17),
        **official_stack("Transformer_reduce.model", 3, 16, 24, strided=True),
        **{f"Transformer_reduce.model.pos_embedding_{i}": (1, 27, 16) for i in (1, 2, 3)},
        **official_parts(
            {"fcn.1": (51, 16, 1), "fcn_1.1": (51, 16, 1)}, {}, {"fcn.0": 16, "fcn_1.0": 16}
        ),
    }


PUBLISHED: Mapping[BackboneName, Published] = {
    "videopose": Published(
        videopose_shapes((3, 1, 3), channels=8),
        lambda: VideoPose(num_joints=17, widths=(3, 1, 3), channels=8),
        frames=9,
    ),
    "simplebaseline": Published(
        simplebaseline_shapes(34, 51),
        lambda: SimpleBaseline(num_joints=17, channels=8, stages=3),
        entry="state_dict",
    ),
    "semgcn": Published(
        semgcn_shapes(),
        lambda: SemGCN(skeleton=H36M_16, channels=8, stages=2),
        {r"^gconv_input\.0": "gconv_input"},
        entry="state_dict",
        joints=16,
    ),
    "mixste": Published(
        official_mixste(depth=3, width=8, frames=6),
        lambda: MixSTE(num_joints=17, frames=6, width=8, depth=3),
        _MIXSTE_RULES,
        frames=6,
    ),
    "pstmo": Published(
        pstmo_shapes(),
        lambda: PSTMO(num_joints=17, frames=27, width=16, hidden=24, output_scale=1.0),
        {
            r"^Transformer\.pos_embedding$": "temporal.table",
            r"^Transformer\.model": "temporal",
            r"^Transformer_reduce\.model\.pos_embedding_1": "strided.tables.0",
            r"^Transformer_reduce\.model\.pos_embedding_2": "strided.tables.1",
            r"^Transformer_reduce\.model\.pos_embedding_3": "strided.tables.2",
            r"^Transformer_reduce\.model": "strided",
            r"^(temporal|strided)\.norm": r"\1.closing_norm",
            r"self_attn\.linears\.0": "attention.queries",
            r"self_attn\.linears\.1": "attention.keys",
            r"self_attn\.linears\.2": "attention.values",
            r"self_attn\.linears\.3": "attention.out",
            r"feed_forward\.w_1": "expand",
            r"feed_forward\.w_2": "shrink",
            r"sublayer\.0\.norm": "norm1",
            r"sublayer\.1\.norm": "norm2",
            r"a_2$": "weight",
            r"b_2$": "bias",
            r"^encoder\.fc_1": "encoder.expand",
            r"^encoder\.bn_1": "encoder.expand_bn",
            r"^encoder\.layers\.0\.w": "encoder.fc",
            r"^encoder\.layers\.0\.batch_norm": "encoder.bn",
            r"^encoder\.fc_2": "encoder.shrink",
            r"^fcn\.0": "middle_norm",
            r"^fcn\.1": "middle_head",
            r"^fcn_1\.0": "all_norm",
            r"^fcn_1\.1": "all_head",
        },
        frames=27,
    ),
    "poseformerv2": Published(
        official_poseformerv2(depth=2, width=8, joints=17, f=1, n=3),
        lambda: PoseFormerV2(
            num_joints=17, frames=9, kept_frames=1, width=8, depth=2, split_at_half=True
        ),
        frames=9,
        options=("--set", "backbone_options.frames=9"),
    ),
    "d3dp": Published(
        official_d3dp(depth=2, width=8, frames=4),
        lambda: D3DP(skeleton=H36M_17, frames=4, width=8, depth=2),
        {
            r"^pose_estimator\.": "",
            r"^time_mlp\.1": "time_expand",
            r"^time_mlp\.3": "time_shrink",
            **_MIXSTE_RULES,
            r"^": "denoiser.",
        },
        frames=4,
        options=("--set", "test_hypotheses=1", "--set", "test_iterations=1"),
        add=with_tables,
    ),
    "ktpformer": Published(
        official_ktpformer(depth=2, width=8, frames=6),
        lambda: KTPFormer(skeleton=H36M_17, frames=6, width=8, depth=2),
        {
            r"^STEblocks\.1": "spatial_blocks.2",
            r"^STEblocks\.0": "spatial_blocks.1",
            r"^TTEblocks\.1": "temporal_blocks.2",
            r"^TTEblocks\.0": "temporal_blocks.1",
            r"^KPAblock": "spatial_blocks.0",
            r"^TPAblock": "temporal_blocks.0",
            r"^KPA": "kpa",
            r"^TPA\.0": "tpa1",
            r"^TPA\.1": "tpa2",
            r"adj2": "Q",
            r"^Spatial_": "spatial_",
            r"^Temporal_": "temporal_",
            r"^head\.0": "head_norm",
            r"^head\.1": "head",
        },
        frames=6,
    ),
    "motionagformer": Published(
        official_motionagformer(depth=2, width=8, frames=6, head=16),
        lambda: MotionAGFormer(
            skeleton=H36M_17, frames=6, depth=2, width=8, head_width=16, graph="official"
        ),
        {r"^rep_logit\.fc": "rep_logit"},
        entry="model",
        frames=6,
    ),
}
"""By backbone; those of P-STMO and MotionAGFormer as for Human3.6M's joints and metres."""
