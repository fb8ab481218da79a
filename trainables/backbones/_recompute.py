"""Passing data through a net once more: blocks that are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from trainables.errors import TrainableError

__all__ = ["frozen_statistics", "has_batch_norm", "recomputed", "repeated_blocks"]


def repeated_blocks(net: nn.Module) -> list[nn.Module]:
    """Find the blocks that a net is built of: members of its lists that have layers inside.

    Raises:
        TrainableError: If there is none.
    """
    blocks = list(_blocks(net))
    if not blocks:
        raise TrainableError(
            f"checkpoint_activations: {type(net).__name__} has no repeated blocks that could be "
            "computed again in the backward pass; leave it out, or use accumulate"
        )
    return blocks


def _blocks(net: nn.Module) -> Iterator[nn.Module]:
    for child in net.children():
        if isinstance(child, nn.ModuleList):
            # lists of single layers would be computed again for nothing
            yield from (block for block in child if next(block.children(), None) is not None)
        else:
            yield from _blocks(child)


@contextmanager
def recomputed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Within this, blocks keep their input only; the backward pass computes the rest again.

    The same bits come out: random numbers are those of the first time, and batch norm
    statistics are updated by the first time only. The nets themselves are as before afterwards;
    the backward pass may come later.

    Args:
        blocks: Blocks of a net, none within another.
    """
    for block in blocks:
        block.forward = _recomputing(block)  # of this object only
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # that of its class is back


def _recomputing(block: nn.Module) -> Callable[..., Any]:
    forward = block.forward

    def run(*arguments: Any) -> Any:
        return checkpoint(
            forward,
            *arguments,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), frozen_statistics(block)),
        )

    return run


@contextmanager
def frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Within this, batch norms in training mode normalise as ever; their statistics stay."""
    noted = [
        (norm, name, buffer)
        for norm in net.modules()
        if isinstance(norm, _BatchNorm)
        for name, buffer in norm.named_buffers(recurse=False)
    ]
    for norm, name, buffer in noted:
        setattr(norm, name, buffer.clone())  # to be noted in, and forgotten
    try:
        yield
    finally:
        for norm, name, buffer in noted:
            setattr(norm, name, buffer)


def has_batch_norm(net: nn.Module) -> bool:
    """Whether a net's training pass depends on which clips are in a batch."""
    return any(isinstance(module, _BatchNorm) for module in net.modules())
