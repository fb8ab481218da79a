"""Checkpoints of MixSTE's authors; D3DP's denoiser has the same names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainables.backbones.official._renaming import (
    BLOCK_NAMES,
    depth_of,
    rename,
    without_module_prefix,
)

__all__ = ["convert_mixste", "mixste_names", "names_in_mixste"]

_STACKS = {"STEblocks": "blocks.spatial_blocks", "TTEblocks": "blocks.temporal_blocks"}
_LAYERS = {
    "Spatial_patch_to_embedding": "embed",
    "Spatial_norm": "blocks.spatial_norm",
    "Temporal_norm": "blocks.temporal_norm",
    "head.0": "blocks.head_norm",
    "head.1": "blocks.head",
}


def mixste_names(depth: int) -> dict[str, str]:
    """Our name by official name of every parameter of a MixSTE of so many pairs of blocks."""
    names = {
        "Spatial_pos_embed": "blocks.spatial_table",
        "Temporal_pos_embed": "blocks.temporal_table",
    }
    for official, ours in _LAYERS.items():
        names |= {f"{official}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}
    for official, ours in _STACKS.items():
        names |= {
            f"{official}.{index}.{name}": f"{ours}.{index}.{name}"
            for index in range(depth)
            for name in BLOCK_NAMES
        }
    return names


def names_in_mixste(state: Mapping[str, Tensor]) -> dict[str, str]:
    """`mixste_names` of a checkpoint's depth."""
    return mixste_names(depth_of(state, *_STACKS))


def convert_mixste(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `model_pos`) our names.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`; of any depth.

    Returns:
        A state of `MixSTE`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed.
    """
    state = without_module_prefix(state)
    return rename(state, names_in_mixste(state), net="MixSTE")
