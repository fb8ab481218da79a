"""What the tensors' shapes tell of a net: its joints, and the options that give its sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainables.backbones.official._renaming import depth_of
from trainables.backbones.pstmo import default_strides
from trainables.errors import CheckpointError

__all__ = [
    "Sizes",
    "Tensors",
    "check_bounds",
    "sizes_of_d3dp",
    "sizes_of_ktpformer",
    "sizes_of_mixste",
]
__all__ += ["sizes_of_motionagformer", "sizes_of_poseformerv2", "sizes_of_pstmo"]
__all__ += ["sizes_of_semgcn", "sizes_of_simplebaseline", "sizes_of_videopose"]

Tensors = Mapping[str, Tensor]

MOST_FRAMES = 4096
"""Of a window; published nets see 1 to 351. Memory grows with its square."""

_MOST = {"frames": MOST_FRAMES, "kept_frames": MOST_FRAMES, "kept_coefficients": MOST_FRAMES}


@dataclass(frozen=True)
class Sizes:
    """What shapes tell.

    Attributes:
        joints: Joints J.
        options: Options of the net's constructor.
    """

    joints: int
    options: Mapping[str, Any]


def check_bounds(options: Mapping[str, Any]) -> None:
    """Refuse options that no net could be used with.

    Args:
        options: Of a net's constructor; names and types are left to that.

    Raises:
        CheckpointError: If its window is longer than `MOST_FRAMES`.
    """
    found = {name: options.get(name) for name in _MOST}
    widths = options.get("widths")
    if isinstance(widths, list) and all(isinstance(width, int) for width in widths):
        found["the receptive field, the product of widths,"] = math.prod(widths)
    for name, value in found.items():
        most = _MOST.get(name, MOST_FRAMES)
        if isinstance(value, int) and value > most:
            raise CheckpointError(
                f"{name} would be {_short(value)}, expected at most {most}; published nets see 1 "
                "to 351 frames"
            )


def _short(number: int) -> str:
    return str(number) if number < 10**15 else "more than 10^15"


def sizes_of_videopose(state: Tensors, _official: Tensors) -> Sizes:
    """Widths, channels; every second convolution has width 1."""
    convolutions = depth_of(state, "layers_conv")
    wide = ["expand_conv.weight", *(f"layers_conv.{i}.weight" for i in range(0, convolutions, 2))]
    return Sizes(
        _size(state, "expand_conv.weight", 1) // 2,
        {
            "widths": [_size(state, name, 2) for name in wide],
            "channels": _size(state, "expand_conv.weight", 0),
        },
    )


def sizes_of_simplebaseline(state: Tensors, _official: Tensors) -> Sizes:
    """Channels, stages."""
    return Sizes(
        _size(state, "w1.weight", 1) // 2,
        {"channels": _size(state, "w1.weight", 0), "stages": depth_of(state, "linear_stages")},
    )


def sizes_of_semgcn(state: Tensors, _official: Tensors) -> Sizes:
    """Channels, blocks; a tree of J joints has 3·J - 2 entries, both ways and itself."""
    return Sizes(
        (_size(state, "gconv_input.gconv.e", 1) + 2) // 3,
        {
            "channels": _size(state, "gconv_input.gconv.W", 2),
            "stages": depth_of(state, "gconv_layers"),
            "non_local": depth_of(state, "non_local") > 0,
        },
    )


def sizes_of_mixste(state: Tensors, _official: Tensors) -> Sizes:
    """Frames, width, depth, hidden channels."""
    return _alternating(state, "")


def sizes_of_d3dp(state: Tensors, official: Tensors) -> Sizes:
    """As of MixSTE, which its denoiser is; the steps of its schedule, if that is there."""
    sizes = _alternating(state, "denoiser.")
    bars = official.get("alphas_cumprod")
    steps = {} if bars is None else {"steps": len(bars)}
    return Sizes(sizes.joints, {**sizes.options, **steps})


def sizes_of_ktpformer(state: Tensors, _official: Tensors) -> Sizes:
    """As of MixSTE; the first pair of blocks is not counted as depth."""
    width = _size(state, "spatial_pos_embed", 2)
    return Sizes(
        _size(state, "spatial_pos_embed", 1),
        {
            "frames": _size(state, "temporal_pos_embed", 1),
            "width": width,
            "depth": depth_of(state, "spatial_blocks", "temporal_blocks") - 1,
            "mlp_ratio": _size(state, "spatial_blocks.0.mlp.fc1.weight", 0) / width,
        },
    )


def sizes_of_pstmo(state: Tensors, _official: Tensors) -> Sizes:
    """Frames, width, hidden channels, depth; strides, if their number is that of the window's."""
    frames = _size(state, "temporal.table", 1)
    strides = default_strides(frames)
    known = {"strides": list(strides)} if len(strides) == depth_of(state, "strided.layers") else {}
    return Sizes(
        _size(state, "encoder.expand.weight", 1) // 2,
        {
            "frames": frames,
            "width": _size(state, "temporal.table", 2),
            "hidden": _size(state, "temporal.layers.0.expand.weight", 0),
            "depth": depth_of(state, "temporal.layers"),
            **known,
        },
    )


def sizes_of_poseformerv2(state: Tensors, _official: Tensors) -> Sizes:
    """Kept frames and coefficients, width, depth; the window's length is in no shape."""
    kept_frames = _size(state, "Temporal_pos_embed", 1)
    kept_coefficients = _size(state, "Temporal_pos_embed_", 1)
    width = _size(state, "Spatial_pos_embed", 2)
    return Sizes(
        _size(state, "Spatial_pos_embed", 1),
        {
            "kept_frames": kept_frames,
            "kept_coefficients": kept_coefficients,
            "width": width,
            "depth": depth_of(state, "blocks", "Spatial_blocks"),
            "mlp_ratio": _size(state, "Spatial_blocks.0.mlp.fc1.weight", 0) / width,
            "split_at_half": kept_frames != kept_coefficients,
        },
    )


def sizes_of_motionagformer(state: Tensors, _official: Tensors) -> Sizes:
    """Frames (the channels of the norms in time), width, depth, head's width, input channels."""
    width = _size(state, "pos_embed", 2)
    return Sizes(
        _size(state, "pos_embed", 1),
        {
            "frames": _size(state, "layers.0.graph_temporal.mixer.batch_norm.weight", 0),
            "depth": depth_of(state, "layers"),
            "width": width,
            "head_width": _size(state, "rep_logit.weight", 0),
            "mlp_ratio": _size(state, "layers.0.att_spatial.mlp.fc1.weight", 0) / width,
            "confidence": _size(state, "joints_embed.weight", 1) == 3,
        },
    )


def _alternating(state: Tensors, prefix: str) -> Sizes:
    blocks = f"{prefix}blocks"
    width = _size(state, f"{prefix}embed.weight", 0)
    return Sizes(
        _size(state, f"{blocks}.spatial_table", 1),
        {
            "frames": _size(state, f"{blocks}.temporal_table", 1),
            "width": width,
            "depth": depth_of(state, f"{blocks}.spatial_blocks", f"{blocks}.temporal_blocks"),
            "mlp_ratio": _size(state, f"{blocks}.spatial_blocks.0.mlp.fc1.weight", 0) / width,
        },
    )


def _size(state: Tensors, name: str, axis: int) -> int:
    """A tensor's size along an axis.

    Raises:
        CheckpointError: If there is no such tensor, or not that many axes.
    """
    value = state.get(name)
    if value is None:
        raise CheckpointError(f"the net has no {name}: it has no block at all")
    if value.ndim <= axis or not value.numel():
        raise CheckpointError(
            f"{name} has shape {tuple(value.shape)}, expected at least {axis + 1} axes and no "
            "empty one"
        )
    return value.shape[axis]
