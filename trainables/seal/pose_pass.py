"""The pose-net's passes of one step, forth and back, in as little memory as is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainables.backbones._recompute import (
    frozen_statistics,
    has_batch_norm,
    recomputed,
    repeated_blocks,
)
from trainables.backbones._training import TrainingOutput
from trainables.config import TrainingConfig
from trainables.seal.lifting import window_of
from trainables.seal.training_pass import training_pass

__all__ = ["PosePass", "Prediction"]

_LEAST_ROWS = 2  # batch norm has no variance of one


class Prediction(NamedTuple):
    """What the pose-net gives for a batch.

    Attributes:
        output: Predictions; a loss is a function of them.
        backward: Takes that loss, and adds its gradient to the pose-net's.
    """

    output: TrainingOutput
    backward: Callable[[Tensor], None]


class PosePass:
    """Training passes of a pose-net: in parts, in bfloat16, with blocks computed again.

    Args:
        config: Says which (`accumulate`, `autocast`, `checkpoint_activations`).
        pose_net: F_φ.

    Raises:
        TrainableError: If the net has no blocks that could be computed again.
    """

    def __init__(self, config: TrainingConfig, pose_net: nn.Module) -> None:
        self._pose_net = pose_net
        self._parts = config.accumulate
        self._bf16 = config.autocast == "bf16"
        self._blocks = repeated_blocks(pose_net) if config.checkpoint_activations else []
        self._window = window_of(pose_net)
        self._least_rows = _LEAST_ROWS if has_batch_norm(pose_net) else 1

    def once(self, x: Tensor, target: Tensor) -> TrainingOutput:
        """Pass clips in one piece.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            target: Root-relative joints of all frames, metres, (B, T, J, 3).

        Returns:
            Predictions in the type of x, with their graph.
        """
        half = torch.autocast(x.device.type, torch.bfloat16, enabled=self._bf16)
        # without gradients nothing is kept, so that there is nothing to save
        again = recomputed(self._blocks) if torch.is_grad_enabled() else nullcontext()
        with half, again:
            pred, auxiliary = training_pass(self._pose_net, x, target)
        return TrainingOutput(
            pred.to(x.dtype), None if auxiliary is None else auxiliary.to(x.dtype)
        )

    def parts(self, x: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Cut a batch into `accumulate` parts, as even as possible.

        There are fewer if parts would be empty, or be a single row to a batch norm.
        """
        least = 1 if self._window.outputs(x.shape[1]) > 1 else self._least_rows
        count = max(1, min(self._parts, len(x) // least))
        return list(zip(x.tensor_split(count), target.tensor_split(count), strict=True))

    def whole(self, x: Tensor, target: Tensor) -> Prediction:
        """Predict a whole batch, for losses of which each term may look at all of it.

        A batch in parts is passed twice (Gao et al., 2021, "GradCache"): first for the
        predictions, without a graph; then, for each part, with the same random numbers, to
        take the loss's gradient from its predictions on to φ. Only one part's graph exists at
        a time, and φ gets the gradient that the whole batch would give at once. Batch norm
        sees the parts in both; its statistics are updated by the first pass.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            target: Root-relative joints of all frames, metres, (B, T, J, 3).
        """
        parts = self.parts(x, target)
        if len(parts) == 1:
            return Prediction(self.once(x, target), torch.Tensor.backward)
        states, outputs = [], []
        for part in parts:
            states.append(_RandomState.now(x.device))
            with torch.no_grad():
                outputs.append(self.once(*part))
        leaves = _joined(outputs)

        def backward(loss: Tensor) -> None:
            loss.backward()
            first = 0
            for part, state in zip(parts, states, strict=True):
                rows = slice(first, first + len(part[0]))
                with state.replayed(), frozen_statistics(self._pose_net):
                    _hand_on(leaves, rows, self.once(*part))
                first = rows.stop

        return Prediction(leaves, backward)


def _joined(parts: list[TrainingOutput]) -> TrainingOutput:
    """Predictions of a batch as leaves, whose gradient is wanted."""
    auxiliary = [part.auxiliary for part in parts if part.auxiliary is not None]
    return TrainingOutput(
        torch.cat([part.pred for part in parts]).requires_grad_(),
        torch.cat(auxiliary).requires_grad_() if auxiliary else None,
    )


def _hand_on(leaves: TrainingOutput, rows: slice, output: TrainingOutput) -> None:
    """Take the gradient that some rows of the leaves have on, through what gave these rows."""
    taught = [
        (value, leaf.grad[rows])
        for value, leaf in zip(output, leaves, strict=True)
        if value is not None and leaf is not None and leaf.grad is not None
    ]
    torch.autograd.backward([value for value, _ in taught], [grad for _, grad in taught])


class _RandomState(NamedTuple):
    """Where torch's global streams are."""

    cpu: Tensor
    cuda: Tensor | None
    device: torch.device

    @classmethod
    def now(cls, device: torch.device) -> _RandomState:
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda, device)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw from here within this; outside nothing is noticed."""
        devices = [] if self.cuda is None else [self.device]
        with torch.random.fork_rng(devices=devices, device_type="cuda"):
            torch.set_rng_state(self.cpu)
            if self.cuda is not None:
                torch.cuda.set_rng_state(self.cuda, self.device)
            yield
