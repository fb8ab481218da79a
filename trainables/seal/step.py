"""One alternating update of loss-net and pose-net (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainables.builders import Optimizers
from trainables.config import TrainingConfig
from trainables.metrics.functional import mpjpe
from trainables.seal.objectives import margin_loss, nce_loss, pose_loss

__all__ = ["AlternatingStep"]


class AlternatingStep:
    """Updates θ, then φ through the updated θ, from one pose-net forward pass.

    Args:
        config: Gives α, objective, pose loss, and which poses the energy terms see.
        pose_net: F_φ.
        loss_net: E_θ; None trains the baseline.
        optimizers: Their optimizers.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        pose_net: nn.Module,
        loss_net: nn.Module | None,
        optimizers: Optimizers,
    ) -> None:
        self._config = config
        self._pose_net = pose_net
        self._loss_net = loss_net
        self._optimizers = optimizers

    def __call__(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Update both nets on one mini-batch, whose poses are in random order.

        The energy terms see the first `energy_poses` of the batch: of poses in random order, a
        random subset.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            y: Root-relative joints, metres, (B, T, J, 3).

        Returns:
            Detached scalars on the device: `train_pose_loss`, and with a loss-net
            `train_loss_net_loss`, `train_energy_true` and `train_energy_pred`, both energies
            by the θ before its update.
        """
        seen = slice(self._config.energy_poses)
        negatives = self._lift_in_evaluation(x[seen])
        pred = self._pose_net(x)
        loss = pose_loss(self._config.pose_loss, pred, y)
        figures = {"train_pose_loss": loss.detach()}
        if self._loss_net is not None:
            x, y, pred = x[seen], y[seen], pred[seen]
            if negatives is None:
                negatives = pred.detach()
            figures |= self._update_loss_net(self._loss_net, x, y, negatives.unsqueeze(0))
            with _frozen(self._loss_net):
                loss = loss + self._config.alpha * self._loss_net(x, pred).mean()
        self._optimizers.pose_net.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizers.pose_net.step()
        return figures

    @torch.no_grad()
    def _lift_in_evaluation(self, x: Tensor) -> Tensor | None:
        """The authors' negatives: predictions by a pass in evaluation mode; else None.

        It comes before the training pass, as in their code, so with the batch norm statistics
        of the steps before. Poses are independent then: only those that are seen are lifted.
        """
        if self._loss_net is None or self._config.negatives_from == "train_forward":
            return None
        self._pose_net.eval()
        pred: Tensor = self._pose_net(x)
        self._pose_net.train()
        return pred

    def _update_loss_net(
        self, loss_net: nn.Module, x: Tensor, y: Tensor, negatives: Tensor
    ) -> dict[str, Tensor]:
        """Tell the truth (B, T, J, 3) from its negatives (K, B, T, J, 3)."""
        optimizer = self._optimizers.loss_net
        if optimizer is None:
            raise ValueError("a loss-net is trained by its own optimizer, and there is none")
        # truth and negatives share one pass
        poses = torch.cat([y.unsqueeze(0), negatives])  # (1 + K, B, T, J, 3)
        inputs = x.expand(len(poses), *x.shape)
        energies = loss_net(inputs.flatten(0, 1), poses.flatten(0, 1))
        energies = energies.unflatten(0, (len(poses), -1))  # (1 + K, B, T)
        energy_true, energy_negatives = energies[0], energies[1:]
        if self._config.objective == "margin":
            margins = self._config.margin_scale * mpjpe(negatives, y.expand_as(negatives))
            loss = margin_loss(energy_true, energy_negatives, margins)
        else:
            loss = nce_loss(energy_true, energy_negatives)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {
            "train_loss_net_loss": loss.detach(),
            "train_energy_true": energy_true.detach().mean(),
            "train_energy_pred": energy_negatives.detach().mean(),
        }


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
