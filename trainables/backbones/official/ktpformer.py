"""Checkpoints of KTPFormer's authors (the deterministic net).

Beyond its first stage the net is MixSTE and has MixSTE's names; graph convolutions have those of
the modulated graph convolution, `adj2` being Q. What the modules of the first stage are called is
not known to us: `FIRST_STAGE` is a guess, and `convert_ktpformer` takes another.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from trainables.backbones.official._renaming import (
    BLOCK_NAMES,
    depth_of,
    rename,
    without_module_prefix,
)

__all__ = ["FIRST_STAGE", "convert_ktpformer", "ktpformer_names", "names_in_ktpformer"]

FIRST_STAGE: Mapping[str, str] = MappingProxyType(
    {
        "kpa": "KPA",
        "tpa1": "TPA.0",
        "tpa2": "TPA.1",
        "spatial_blocks.0": "KPAblock",
        "temporal_blocks.0": "TPAblock",
    }
)
"""Official prefix of each module of the first stage by ours. Assumed, not checked."""

_LINEAR = ("weight", "bias")
_UNIT_NAMES = {
    **{f"gconv.{name}": f"gconv.{name}" for name in ("W", "M", "bias")},
    "gconv.adj2": "gconv.Q",
    **{
        f"bn.{name}": f"bn.{name}"
        for name in (*_LINEAR, "running_mean", "running_var", "num_batches_tracked")
    },
}
_STACKS = {"STEblocks": "spatial_blocks", "TTEblocks": "temporal_blocks"}
_LAYERS = {
    "Spatial_norm": "spatial_norm",
    "Temporal_norm": "temporal_norm",
    "head.0": "head_norm",
    "head.1": "head",
}


def ktpformer_names(depth: int, first_stage: Mapping[str, str] = FIRST_STAGE) -> dict[str, str]:
    """Our name by official name of every parameter and statistic.

    Args:
        depth: Pairs of blocks after the first stage.
        first_stage: Official prefix by ours, as `FIRST_STAGE`.
    """
    names = {
        "Spatial_pos_embed": "spatial_pos_embed",
        "Temporal_pos_embed": "temporal_pos_embed",
    }
    for official, ours in _LAYERS.items():
        names |= {f"{official}.{kind}": f"{ours}.{kind}" for kind in _LINEAR}
    for ours in ("kpa", "tpa1", "tpa2"):
        names |= {f"{first_stage[ours]}.{a}": f"{ours}.{b}" for a, b in _UNIT_NAMES.items()}
    for official, ours in _STACKS.items():
        names |= {f"{first_stage[f'{ours}.0']}.{name}": f"{ours}.0.{name}" for name in BLOCK_NAMES}
        names |= {
            f"{official}.{index}.{name}": f"{ours}.{index + 1}.{name}"
            for index in range(depth)
            for name in BLOCK_NAMES
        }
    return names


def names_in_ktpformer(
    state: Mapping[str, Tensor], first_stage: Mapping[str, str] = FIRST_STAGE
) -> dict[str, str]:
    """`ktpformer_names` of a checkpoint's depth."""
    return ktpformer_names(depth_of(state, *_STACKS), first_stage)


def convert_ktpformer(
    state: Mapping[str, Tensor], *, first_stage: Mapping[str, str] = FIRST_STAGE
) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `model_pos`) our names.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`; of any depth.
        first_stage: Official prefix of each module of the first stage, as `FIRST_STAGE`.

    Returns:
        A state of `KTPFormer`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed.
    """
    state = without_module_prefix(state)
    return rename(state, names_in_ktpformer(state, first_stage), net="KTPFormer")
