"""From a training configuration to nets and optimizers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from trainables.backbones import BACKBONES
from trainables.backbones._recompute import repeated_blocks
from trainables.backbones._training import check_iterations
from trainables.config import OfficialLossName, TrainingConfig
from trainables.errors import TrainableError
from trainables.loss_nets import LOSS_NETS
from trainables.seeding import derive_seed, isolated_rng
from trainables.skeletons import Skeleton

__all__ = [
    "Optimizers",
    "build_backbone",
    "build_loss_net",
    "build_loss_optimizer",
    "build_optimizers",
    "resolve_pose_loss",
]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Optimizers:
    """The optimizers of a training.

    Attributes:
        pose_net: The configured optimizer on φ, with lr_p.
        loss_net: Adam or AdamW on θ with lr_l; None for a baseline, and for a frozen loss-net.
    """

    pose_net: Optimizer
    loss_net: Optimizer | None


def build_backbone(config: TrainingConfig, skeleton: Skeleton) -> nn.Module:
    """Build the pose-net, initialised from its own stream of `config.seed`, on the CPU.

    Raises:
        TrainableError: If `backbone_options` has a name or value that the net does not take,
            `checkpoint_activations` asks for blocks that it lacks, or there are more iterations
            than its sampler takes.
    """
    entry = BACKBONES[config.backbone]
    net = _build(
        entry.build,
        entry.joint_arguments(skeleton),
        config.backbone_options,
        seed=derive_seed(config.seed, "pose_net", "init"),
        where=f"backbone_options of {config.backbone}",
    )
    if config.checkpoint_activations:
        repeated_blocks(net)  # refuses nets without any
    asked = {name: getattr(config, name) for name in ("test_iterations", "hypothesis_iterations")}
    check_iterations(net, asked)
    return net


def build_loss_net(config: TrainingConfig, skeleton: Skeleton) -> nn.Module | None:
    """Build the loss-net, initialised from its own stream of `config.seed`, on the CPU.

    Returns:
        The net, or None where no energy takes part (`loss_net="none"`, or α = 0).

    Raises:
        TrainableError: If `loss_net_options` has a name or value that the net does not take.
    """
    if not config.uses_energy:
        return None
    return _build(
        LOSS_NETS[config.loss_net].build,
        {"skeleton": skeleton, "input": config.input},
        config.loss_net_options,
        seed=derive_seed(config.seed, "loss_net", "init"),
        where=f"loss_net_options of {config.loss_net}",
    )


def build_optimizers(
    config: TrainingConfig, pose_net: nn.Module, loss_net: nn.Module | None
) -> Optimizers:
    """Build separate optimizers for φ and θ (A.2.1).

    A loss-net of SEAL-static is frozen by then, and gets none.

    Raises:
        TrainableError: If a loss-net is to be trained and the configuration has no `lr_l`.
    """
    # fused: one pass over the parameters, three times as fast on the CPU as the others
    decay = config.weight_decay
    parameters = pose_net.parameters()
    pose_optimizer: Optimizer
    if config.optimizer == "adamw":
        pose_optimizer = AdamW(parameters, lr=config.lr_p, weight_decay=decay, fused=True)
    else:
        amsgrad = config.optimizer == "amsgrad"
        pose_optimizer = Adam(
            parameters, lr=config.lr_p, weight_decay=decay, amsgrad=amsgrad, fused=True
        )
    if loss_net is None or config.variant == "static":
        return Optimizers(pose_optimizer, None)
    return Optimizers(pose_optimizer, build_loss_optimizer(config, loss_net))


def build_loss_optimizer(config: TrainingConfig, loss_net: nn.Module) -> Optimizer:
    """Build the optimizer of θ.

    Raises:
        TrainableError: If the configuration has no `lr_l`.
    """
    if config.lr_l is None:
        raise TrainableError("a loss-net is to be trained, but lr_l is not set; set lr_l")
    family = AdamW if config.loss_optimizer == "adamw" else Adam
    return family(loss_net.parameters(), lr=config.lr_l, fused=True)


def resolve_pose_loss(config: TrainingConfig) -> OfficialLossName:
    """The supervised loss, with `backbone` replaced by what the net's authors train with."""
    if config.pose_loss == "backbone":
        return BACKBONES[config.backbone].official_pose_loss
    return config.pose_loss


def _build(
    constructor: Callable[..., nn.Module],
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    seed: int,
    where: str,
) -> nn.Module:
    allowed = sorted(set(inspect.signature(constructor).parameters) - set(given))
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TrainableError(
            f"{where}: unknown {', '.join(unknown)}; it takes {', '.join(allowed)}"
        )
    with isolated_rng(seed, _CPU):
        try:
            return constructor(**given, **options)
        except (TypeError, ValueError, RuntimeError) as err:
            raise TrainableError(f"{where}: {dict(options)} does not work: {err}") from err
