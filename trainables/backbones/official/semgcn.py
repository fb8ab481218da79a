"""Checkpoints of SemGCN's authors, with and without non-local blocks.

There the non-local blocks stand between the residual ones, in the same sequence, and their maps
are convolutions of width 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainables.backbones.official._renaming import (
    BATCH_NORM,
    LINEAR,
    numbers_of,
    rename,
    without_module_prefix,
)

__all__ = ["convert_semgcn", "names_in_semgcn"]

_CONVOLUTION = ("W", "e", "bias")
# g and phi are followed by the pooling, W by the batch norm, in sequences of their own
_NON_LOCAL = {
    **{f"g.0.{kind}": f"g.{kind}" for kind in LINEAR},
    **{f"theta.{kind}": f"theta.{kind}" for kind in LINEAR},
    **{f"phi.0.{kind}": f"phi.{kind}" for kind in LINEAR},
    "concat_project.0.weight": "affinity.weight",
    **{f"W.0.{kind}": f"out.{kind}" for kind in LINEAR},
    **{f"W.1.{kind}": f"bn.{kind}" for kind in BATCH_NORM},
}


def names_in_semgcn(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name by official name of every parameter and statistic.

    Args:
        state: A checkpoint's entries, which say how many blocks there are and of which kind.
    """
    non_local = any(name.startswith("gconv_input.1.") for name in state)
    layers = len(numbers_of(state, "gconv_layers"))
    names = _unit_names("gconv_input.0", "gconv_input")
    names |= {f"gconv_output.{kind}": f"gconv_output.{kind}" for kind in _CONVOLUTION}
    if non_local:
        names |= _non_local_names("gconv_input.1", 0)
    for block in range(-(-layers // 2) if non_local else layers):
        there = f"gconv_layers.{2 * block if non_local else block}"
        for unit in ("gconv1", "gconv2"):
            names |= _unit_names(f"{there}.{unit}", f"gconv_layers.{block}.{unit}")
        if non_local:
            names |= _non_local_names(f"gconv_layers.{2 * block + 1}", block + 1)
    return names


def convert_semgcn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `state_dict`) our names and shapes.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`.

    Returns:
        A state of `SemGCN`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed.
    """
    state = without_module_prefix(state)
    converted = rename(state, names_in_semgcn(state), net="SemGCN")
    return {
        name: value.flatten(1) if name.startswith("non_local.") and _is_kernel(value) else value
        for name, value in converted.items()
    }


def _is_kernel(value: Tensor) -> bool:
    """Whether it is a convolution of width 1, (out, in, 1) or (out, in, 1, 1)."""
    return value.ndim > 2 and value.shape[2:].numel() == 1


def _unit_names(official: str, ours: str) -> dict[str, str]:
    kinds = [f"gconv.{kind}" for kind in _CONVOLUTION] + [f"bn.{kind}" for kind in BATCH_NORM]
    return {f"{official}.{kind}": f"{ours}.{kind}" for kind in kinds}


def _non_local_names(official: str, index: int) -> dict[str, str]:
    return {f"{official}.nonlocal.{a}": f"non_local.{index}.{b}" for a, b in _NON_LOCAL.items()}
