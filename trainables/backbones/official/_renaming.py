"""Renaming of checkpoints' entries, strictly."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from trainables.errors import CheckpointError
from trainables.names import printable

__all__ = ["BATCH_NORM", "BLOCK_NAMES", "LINEAR", "depth_of", "first_of", "numbers_of", "rename"]
__all__ += ["without_module_prefix"]

LINEAR = ("weight", "bias")
BATCH_NORM = (*LINEAR, "running_mean", "running_var", "num_batches_tracked")

BLOCK_NAMES = tuple(
    f"{layer}.{kind}"
    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for kind in LINEAR
)
"""Parameters of a pre-norm block, as timm, the official codes and `_transformer.Block` name it."""

_MOST_NAMES = 10
"""Of a kind in a message; a file of another net has hundreds."""


def without_module_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without `module.`, which `nn.DataParallel` puts before all of them."""
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def numbers_of(state: Mapping[str, Tensor], prefix: str) -> range:
    """0 to the largest number that follows a prefix in the names: blocks of a stack.

    There are no more than entries, whatever number a name holds.
    """
    found = re.compile(re.escape(prefix) + r"\.(\d{1,9})\.")
    numbers = [int(match[1]) for match in map(found.match, state) if match]
    return range(min(max(numbers, default=-1) + 1, len(state)))


def depth_of(state: Mapping[str, Tensor], *stacks: str) -> int:
    """Blocks of the deepest one of some stacks, by its prefix."""
    return max(len(numbers_of(state, stack)) for stack in stacks)


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
            f"{len(found)} {kind}: {first_of([printable(name) for name in found], ', ')}"
            for kind, found in (("unknown", unknown), ("missing", missing))
            if found
        ]
        raise CheckpointError(f"no official checkpoint of {net}: {'; '.join(faults)}")
    return {ours: state[official] for official, ours in names.items()}


def first_of(texts: Sequence[str], between: str) -> str:
    """The first ten of a list, and how many more there are."""
    more = len(texts) - _MOST_NAMES
    listed = between.join(texts[:_MOST_NAMES])
    return f"{listed} and {more} more" if more > 0 else listed
