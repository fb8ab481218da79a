"""Checkpoints of VideoPose3D's authors, of any widths; the strided training twin has the same."""

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

__all__ = ["convert_videopose", "names_in_videopose"]


def names_in_videopose(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name by official name of every parameter and statistic: they are the same.

    Args:
        state: A checkpoint's entries, which say how many layers there are.
    """
    names = ["expand_conv.weight", *(f"expand_bn.{kind}" for kind in BATCH_NORM)]
    layers = max(len(numbers_of(state, stack)) for stack in ("layers_conv", "layers_bn"))
    for index in range(layers):
        names.append(f"layers_conv.{index}.weight")
        names += [f"layers_bn.{index}.{kind}" for kind in BATCH_NORM]
    names += [f"shrink.{kind}" for kind in LINEAR]
    return {name: name for name in names}


def convert_videopose(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `model_pos`) our names.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`.

    Returns:
        A state of `VideoPose`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed.
    """
    state = without_module_prefix(state)
    return rename(state, names_in_videopose(state), net="VideoPose3D")
