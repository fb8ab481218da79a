"""Checkpoints of PoseFormerV2's authors.

Build the net with `split_at_half=True` for one whose kept frames and coefficients differ.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainables.backbones.official._renaming import (
    BLOCK_NAMES,
    depth_of,
    rename,
    without_module_prefix,
)

__all__ = ["convert_poseformerv2", "names_in_poseformerv2", "poseformerv2_names"]

_TABLES = ("Spatial_pos_embed", "Temporal_pos_embed", "Temporal_pos_embed_")
_LAYERS = (
    *("Joint_embedding", "Freq_embedding", "Spatial_norm", "Temporal_norm"),
    *("weighted_mean", "weighted_mean_", "head.0", "head.1"),
)
_MIXED_LAYERS = (
    *("norm1", "attn.qkv", "attn.proj", "norm2", "mlp1.fc1", "mlp1.fc2"),
    *("norm3", "mlp2.fc1", "mlp2.fc2"),
)
_LINEAR = ("weight", "bias")


def poseformerv2_names(depth: int) -> dict[str, str]:
    """Our name by official name of every parameter: they are the same."""
    mixed = [f"{layer}.{kind}" for layer in _MIXED_LAYERS for kind in _LINEAR]
    names = [
        *_TABLES,
        *(f"{layer}.{kind}" for layer in _LAYERS for kind in _LINEAR),
        *(f"Spatial_blocks.{i}.{name}" for i in range(depth) for name in BLOCK_NAMES),
        *(f"blocks.{i}.{name}" for i in range(depth) for name in mixed),
    ]
    return {name: name for name in names}


def names_in_poseformerv2(state: Mapping[str, Tensor]) -> dict[str, str]:
    """`poseformerv2_names` of a checkpoint's depth."""
    return poseformerv2_names(depth_of(state, "Spatial_blocks", "blocks"))


def convert_poseformerv2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `model_pos`) our names.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`; of any depth.

    Returns:
        A state of `PoseFormerV2`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed.
    """
    state = without_module_prefix(state)
    return rename(state, names_in_poseformerv2(state), net="PoseFormerV2")
