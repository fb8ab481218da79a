"""SEAL-static: a loss-net that is trained first, and then frozen (paper, 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.builders import build_loss_optimizer
from trainables.config import TrainingConfig
from trainables.seal.batches import Batch, TrainingBatches, run_steps
from trainables.seal.device_data import middle_frames
from trainables.seal.lifting import window_of
from trainables.seal.loss_net_step import LossNetStep
from trainables.seal.monitor import StepMonitor
from trainables.seal.negatives import build_pool, clips_at_a_time, lift_in_evaluation

__all__ = ["fit_loss_net"]


def fit_loss_net(
    config: TrainingConfig,
    *,
    pose_net: nn.Module,
    loss_net: nn.Module,
    batches: TrainingBatches,
    device: torch.device,
) -> dict[str, float]:
    """Train the loss-net for `static_epochs` against the predictions of a fixed pose-net.

    Args:
        config: Gives objective, negatives, rate and epochs.
        pose_net: A trained F_φ; left as it is.
        loss_net: E_θ; trained in place.
        batches: The training split.
        device: Where the nets are.

    Returns:
        Means over the last epoch: `static_loss_net_loss`, `static_energy_true`,
        `static_energy_pred`, ….

    Raises:
        NonFiniteError: If a loss is NaN or infinite; the figure's name says that it was here.
    """
    update = LossNetStep(
        config, loss_net=loss_net, optimizer=build_loss_optimizer(config, loss_net)
    )
    seen, window = slice(config.energy_poses), window_of(pose_net)

    def step(batch: Batch, stream: torch.Generator) -> dict[str, Tensor]:
        x = batch.x[seen]
        y = middle_frames(batch.y[seen], window.outputs(x.shape[1]))
        pool = build_pool(
            config,
            pose_net=pose_net,
            x=x,
            y=y,
            prediction=lift_in_evaluation(pose_net, x, max_clips=clips_at_a_time(config)),
            views=None if batch.views is None else batch.views.first(len(x)),
            stream=stream,
        )
        figures = update(middle_frames(x, y.shape[1]), y, pool, stream)
        return {name.replace("train_", "static_"): value for name, value in figures.items()}

    means: dict[str, float] = {}
    loss_net.train()
    for epoch in range(1, config.static_epochs + 1):
        monitor = StepMonitor(epoch=epoch, first_step=0, device=device)
        run_steps(
            batches.epoch("static_data_order", epoch),
            step,
            monitor,
            seed=config.seed,
            names=("static", epoch),
            device=device,
        )
        means = monitor.compute()
    return means
