"""One alternating update of loss-net and pose-net (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainables.backbones._training import TrainingOutput
from trainables.builders import Optimizers, resolve_pose_loss
from trainables.config import TrainingConfig
from trainables.seal.constraints import length_constraint, symmetry_constraint
from trainables.seal.device_data import middle_frames
from trainables.seal.lifting import window_of
from trainables.seal.loss_net_step import LossNetStep
from trainables.seal.negatives import (
    NegativePool,
    build_pool,
    clips_at_a_time,
    lift_in_evaluation,
)
from trainables.seal.pose_pass import PosePass
from trainables.seal.projection import Views
from trainables.seal.training_pass import supervised_loss
from trainables.skeletons import Skeleton

__all__ = ["AlternatingStep"]


class _Context(NamedTuple):
    """What negatives are made of, beside the prediction; see `build_pool`."""

    x: Tensor
    y: Tensor
    views: Views | None
    stream: torch.Generator | None


class AlternatingStep:
    """Updates θ, then φ through the updated θ, from one prediction of the pose-net.

    Args:
        config: Gives α, losses, negatives, and which poses the energy terms see.
        skeleton: Skeleton of the poses, for the explicit constraints.
        pose_net: F_φ.
        loss_net: E_θ; None trains the baseline.
        optimizers: Their optimizers; a loss-net without one is frozen (SEAL-static).

    Raises:
        TrainableError: If `checkpoint_activations` asks for blocks that the pose-net lacks.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        skeleton: Skeleton,
        pose_net: nn.Module,
        loss_net: nn.Module | None,
        optimizers: Optimizers,
    ) -> None:
        self._config = config
        self._skeleton = skeleton
        self._pose_net = pose_net
        self._loss_net = loss_net
        self._optimizer = optimizers.pose_net
        self._pass = PosePass(config, pose_net)
        self._window = window_of(pose_net)
        self._pose_loss = resolve_pose_loss(config)
        self._loss_net_step = None
        if loss_net is not None and optimizers.loss_net is not None:
            self._loss_net_step = LossNetStep(
                config, loss_net=loss_net, optimizer=optimizers.loss_net
            )

    def __call__(
        self,
        x: Tensor,
        y: Tensor,
        *,
        views: Views | None = None,
        stream: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Update both nets on one mini-batch, whose clips are in random order.

        The energy terms see the first `energy_poses` of the batch: of clips in random order, a
        random subset.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            y: Root-relative joints, metres, (B, T, J, 3); of a net that gives some frames in the
                middle a pose those T' will do, unless it trains on all.
            views: Where the T' frames are seen from, (B, T', 3) and (B, T', 9); for hard
                negatives.
            stream: Random numbers of the negatives, on the poses' device; None for torch's own.

        Returns:
            Detached scalars on the device: `train_pose_loss`, with explicit constraints
            `train_length_loss` and `train_symmetry_loss`, with a loss-net those of
            `LossNetStep` (of a frozen one `train_energy_pred` only).
        """
        self._optimizer.zero_grad(set_to_none=True)
        if self._loss_net is None:
            figures = self._teach_alone(x, y)
        else:
            seen = slice(self._config.energy_poses)
            count = min(self._window.outputs(x.shape[1]), y.shape[1])
            seen_views = None if views is None else views.first(len(x[seen]))
            context = _Context(x[seen], middle_frames(y[seen], count), seen_views, stream)
            figures = self._teach_by_energy(x, y, self._loss_net, context)
        if self._config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self._pose_net.parameters(), self._config.grad_clip)
        self._optimizer.step()
        return figures

    def _teach_alone(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Gradient of the baseline's loss; as a mean over clips it is a sum over their parts."""
        figures: dict[str, Tensor] = {}
        for part_x, part_y in self._pass.parts(x, y):
            share = len(part_x) / len(x)
            output = self._pass.once(part_x, part_y)
            loss, of_part = self._supervised_loss(output, part_y)
            (share * loss).backward()
            for name, value in of_part.items():
                figures[name] = figures.get(name, 0.0) + share * value
        return figures

    def _teach_by_energy(
        self, x: Tensor, y: Tensor, loss_net: nn.Module, context: _Context
    ) -> dict[str, Tensor]:
        """Update θ, then take the gradient of Eq. 7, of the whole batch at once."""
        pool = self._negatives_beforehand(context)
        prediction = self._pass.whole(x, y)
        loss, figures = self._supervised_loss(prediction.output, y)
        pred = prediction.output.pred[: len(context.x)]
        lifted = middle_frames(context.x, context.y.shape[1])
        if self._loss_net_step is not None:
            pool = pool or self._negatives(context, pred.detach())
            figures |= self._loss_net_step(lifted, context.y, pool, context.stream)
        with _frozen(loss_net):
            energy = loss_net(lifted, pred).mean()
        figures.setdefault("train_energy_pred", energy.detach())
        prediction.backward(loss + self._config.alpha * energy)
        return figures

    def _negatives_beforehand(self, context: _Context) -> NegativePool | None:
        """The authors' negatives: predictions by a pass in evaluation mode; else None.

        It comes before the training pass, as in their code, so with the batch norm statistics
        of the steps before. Poses are independent then: only those that are seen are lifted.
        """
        if self._loss_net_step is None or self._config.negatives_from == "train_forward":
            return None
        most = clips_at_a_time(self._config)
        return self._negatives(
            context, lift_in_evaluation(self._pose_net, context.x, max_clips=most)
        )

    def _negatives(self, context: _Context, prediction: Tensor) -> NegativePool:
        return build_pool(
            self._config, pose_net=self._pose_net, prediction=prediction, **context._asdict()
        )

    def _supervised_loss(
        self, output: TrainingOutput, target: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The part without energy: pose loss and explicit constraints."""
        config, pred = self._config, output.pred
        y = middle_frames(target, pred.shape[1])
        loss = supervised_loss(self._pose_loss, output, target, self._skeleton)
        figures = {"train_pose_loss": loss.detach()}
        if config.length_weight > 0:
            term = length_constraint(pred, y, self._skeleton)
            figures["train_length_loss"] = term.detach()
            loss = loss + config.length_weight * term
        if config.symmetry_weight > 0:
            term = symmetry_constraint(pred, self._skeleton)
            figures["train_symmetry_loss"] = term.detach()
            loss = loss + config.symmetry_weight * term
        return loss, figures


@contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """Keep a net's parameters out of the graph: no gradient reaches them, none is computed."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
