"""Checkpoints of SimpleBaseline: its PyTorch port's class, which SemGCN's authors have as well.

That class is trained with the hip left out of the poses, which is 0 in root-relative poses: here
the hip's rows of the last layer are zeros, which is the same function.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.backbones.official._renaming import (
    BATCH_NORM,
    LINEAR,
    numbers_of,
    rename,
    without_module_prefix,
)
from trainables.errors import CheckpointError

__all__ = ["convert_simplebaseline", "names_in_simplebaseline"]

_PORT_JOINTS = 16


def names_in_simplebaseline(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name by official name of every parameter and statistic: they are the same.

    Args:
        state: A checkpoint's entries, which say how many stages there are.
    """
    names = _layer_names("", 1) + [f"w2.{kind}" for kind in LINEAR]
    for index in numbers_of(state, "linear_stages"):
        for number in (1, 2):
            names += _layer_names(f"linear_stages.{index}.", number)
    return {name: name for name in names}


def convert_simplebaseline(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `state_dict`) our names and joints.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`.

    Returns:
        A state of `SimpleBaseline` that gives all joints that it takes.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed. Or if
            the joints out are not those in, with or without the hip. Or if both are 16: that is
            the port, whose poses are standardised by statistics that its file does not hold.
    """
    state = without_module_prefix(state)
    converted = rename(state, names_in_simplebaseline(state), net="SimpleBaseline")
    weight, bias = converted["w2.weight"], converted["w2.bias"]
    joints_in, joints_out = _joints(converted["w1.weight"], 1, 2), _joints(weight, 0, 3)
    if joints_in == joints_out == _PORT_JOINTS:
        raise CheckpointError(
            "this SimpleBaseline takes 16 joints (32 numbers) and gives 16 (48), as the PyTorch "
            "port does: its joints in lack the nose, those out the hip, and both are standardised "
            "by statistics of its training that are not in the file; it cannot be used here. "
            "34 -> 51, 34 -> 48 and 32 -> 45 numbers can"
        )
    if joints_out == joints_in:
        return converted
    if joints_out != joints_in - 1 or bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"this SimpleBaseline takes {joints_in} joints and gives {joints_out}; expected as "
            "many, or all but the hip"
        )
    hip = weight.new_zeros(3, weight.shape[1])
    return converted | {
        "w2.weight": torch.cat([hip, weight]),
        "w2.bias": torch.cat([bias.new_zeros(3), bias]),
    }


def _layer_names(prefix: str, number: int) -> list[str]:
    linear = [f"{prefix}w{number}.{kind}" for kind in LINEAR]
    return linear + [f"{prefix}batch_norm{number}.{kind}" for kind in BATCH_NORM]


def _joints(weight: Tensor, axis: int, coordinates: int) -> int:
    if weight.ndim != 2 or weight.shape[axis] % coordinates or not weight.numel():
        raise CheckpointError(
            "no official checkpoint of SimpleBaseline: a layer at its ends has shape "
            f"{tuple(weight.shape)}, expected {coordinates} numbers a joint"
        )
    return weight.shape[axis] // coordinates
