"""Renaming of checkpoints' entries, strictly."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from trainables.errors import CheckpointError

__all__ = ["BLOCK_NAMES", "numbers_of", "rename", "without_module_prefix"]

BLOCK_NAMES = tuple(
    f"{layer}.{kind}"
    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for kind in ("weight", "bias")
)
"""Parameters of a pre-norm block, as timm, the official codes and `_transformer.Block` name it."""


def without_module_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without `module.`, which `nn.DataParallel` puts before all of them."""
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def numbers_of(state: Mapping[str, Tensor], prefix: str) -> range:
    """0 to the largest number that follows a prefix in the names: blocks of a stack."""
    found = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    numbers = [int(match[1]) for match in map(found.match, state) if match]
    return range(max(numbers, default=-1) + 1)


def rename(
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    *,
    net: str,
    dropped: Collection[str] = (),
) -> dict[str, Tensor]:
    """Give the entries of an official checkpoint our names.

    Args:
        state: Entries under their official names.
        names: Our name by official name; all of these must be there.
        net: Name of the net, for people.
        dropped: Official names that may be there and are left out: what we have no use for, or
            compute ourselves.

    Returns:
        The same tensors under our names.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed.
    """
    unknown = sorted(set(state) - set(names) - set(dropped))
    missing = sorted(set(names) - set(state))
    if unknown or missing:
        faults = [
            f"{len(found)} {kind}: {', '.join(found)}"
            for kind, found in (("unknown", unknown), ("missing", missing))
            if found
        ]
        raise CheckpointError(f"no official checkpoint of {net}: {'; '.join(faults)}")
    return {ours: state[official] for official, ours in names.items()}
