"""One update of the loss-net (Algorithm 1, lines 5 and 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.config import TrainingConfig
from trainables.metrics.functional import mpjpe
from trainables.seal.negatives import NegativePool, rank_pairs
from trainables.seal.objectives import margin_loss, nce_loss, pair_loss, window_loss

__all__ = ["LossNetStep"]


class LossNetStep:
    """Updates θ so that truth has a lower energy than its negatives.

    Args:
        config: Gives objective, margins, weights of the further terms.
        loss_net: E_θ.
        optimizer: Its optimizer.
    """

    def __init__(
        self, config: TrainingConfig, *, loss_net: nn.Module, optimizer: Optimizer
    ) -> None:
        self._config = config
        self._loss_net = loss_net
        self._optimizer = optimizer

    def __call__(
        self, x: Tensor, y: Tensor, pool: NegativePool, stream: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Update θ on one mini-batch.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            y: Root-relative joints, metres, (B, T, J, 3).
            pool: Their negatives.
            stream: Random numbers of the pairs, on the poses' device.

        Returns:
            Detached scalars on the device, by the θ before its update: `train_loss_net_loss`,
            `train_energy_true`, `train_energy_pred` (of the negatives that the objective sees),
            and `train_pair_loss`, `train_window_loss` where these terms take part.
        """
        energy_true, energies = self._energies(x, y, pool.poses)
        loss = self._objective(y, energy_true, energies, pool)
        extra = self._extra_terms(energies, pool, stream)
        total = loss
        for weight, term in extra.values():
            total = total + weight * term
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        self._optimizer.step()
        return {
            "train_loss_net_loss": loss.detach(),
            "train_energy_true": energy_true.detach().mean(),
            "train_energy_pred": pool.for_objective(energies.detach()).mean(),
            **{name: term.detach() for name, (_, term) in extra.items()},
        }

    def _energies(self, x: Tensor, y: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        """Energies of truth (B, T) and negatives (P, B, T), in one pass."""
        energies = self._loss_net(x, torch.cat([y.unsqueeze(0), negatives]))
        return energies[0], energies[1:]

    def _objective(
        self, y: Tensor, energy_true: Tensor, energies: Tensor, pool: NegativePool
    ) -> Tensor:
        seen = pool.for_objective(energies)
        if self._config.objective == "nce":
            return nce_loss(energy_true, seen)
        negatives = pool.for_objective(pool.poses)
        margins = self._config.margin_scale * mpjpe(negatives, y.expand_as(negatives))
        return margin_loss(energy_true, seen, margins)

    def _extra_terms(
        self, energies: Tensor, pool: NegativePool, stream: torch.Generator | None
    ) -> dict[str, tuple[float, Tensor]]:
        """The terms beside the objective by name, with their weights."""
        config = self._config
        terms: dict[str, tuple[float, Tensor]] = {}
        if config.pair_weight > 0 and pool.disturbance is not None:
            loss = pair_loss(
                energies[pool.perturbed],
                pool.poses[pool.perturbed],
                pool.disturbance,
                scale=config.pair_scale,
                pairs=rank_pairs(len(pool.disturbance), stream, energies.device),
            )
            terms["train_pair_loss"] = (config.pair_weight, loss)
        if config.window_weight > 0:
            loss = window_loss(
                energies[0],
                pool.poses[0],
                scale=config.pair_scale,
                frames=config.window_frames,
                shift=config.window_shift,
            )
            terms["train_window_loss"] = (config.window_weight, loss)
        return terms
