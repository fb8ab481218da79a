"""From configurations to nets and optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Adam, AdamW

from trainables.backbones import SimpleBaseline, VideoPose
from trainables.builders import build_backbone, build_loss_net, build_optimizers
from trainables.config import TrainingConfig
from trainables.errors import TrainableError
from trainables.loss_nets import GraphLossNet, MlpLossNet
from trainables.skeletons import H36M_17


def config(**fields: Any) -> TrainingConfig:
    return TrainingConfig(
        **{
            "backbone": "videopose",
            "backbone_options": {"channels": 8},
            "loss_net_options": {},
            "lr_p": 2e-3,
            "lr_l": 3e-4,
            "alpha": 0.1,
            **fields,
        }
    )


def weights(net: nn.Module | None) -> torch.Tensor:
    assert net is not None
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_names_choose_the_nets() -> None:
    assert isinstance(build_backbone(config(), H36M_17), VideoPose)
    assert isinstance(build_backbone(config(backbone="simplebaseline"), H36M_17), SimpleBaseline)
    small = {"width": 8, "heads": 2, "depth": 1}
    graph = build_loss_net(config(loss_net_options=small), H36M_17)
    assert isinstance(graph, GraphLossNet)
    assert len(graph.encoder.blocks) == 1
    mlp = build_loss_net(config(loss_net="mlp", loss_net_options={"hidden": 8}), H36M_17)
    assert isinstance(mlp, MlpLossNet)


@pytest.mark.parametrize("fields", [{"loss_net": "none", "alpha": 0.0}, {"alpha": 0.0}])
def test_without_energy_there_is_no_loss_net(fields: dict[str, Any]) -> None:
    assert build_loss_net(config(**fields), H36M_17) is None


def test_initialisation_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_backbone(config(), H36M_17)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = build_backbone(config(loss_net="none", alpha=0.0, lr_p=1.0), H36M_17)
    assert torch.equal(weights(first), weights(again))
    other = build_backbone(config(seed=1), H36M_17)
    assert not torch.equal(weights(first), weights(other))


def test_optimizers_get_their_rates() -> None:
    fields = config(loss_net="mlp", loss_net_options={"hidden": 8})
    pose_net = build_backbone(fields, H36M_17)
    loss_net = build_loss_net(fields, H36M_17)
    optimizers = build_optimizers(fields, pose_net, loss_net)
    assert type(optimizers.pose_net) is Adam
    assert type(optimizers.loss_net) is Adam
    assert optimizers.pose_net.param_groups[0]["lr"] == 2e-3
    assert optimizers.loss_net.param_groups[0]["lr"] == 3e-4
    adamw = build_optimizers(
        fields.model_copy(update={"loss_optimizer": "adamw"}), pose_net, loss_net
    )
    assert type(adamw.loss_net) is AdamW
    assert type(adamw.pose_net) is Adam
    assert build_optimizers(fields, pose_net, None).loss_net is None


def test_unknown_and_unfit_options_are_named() -> None:
    with pytest.raises(
        TrainableError,
        match="backbone_options of videopose: unknown chanels; it takes channels, dropout, widths",
    ):
        build_backbone(config(backbone_options={"chanels": 8}), H36M_17)
    with pytest.raises(TrainableError, match="unknown num_joints"):
        build_backbone(config(backbone_options={"num_joints": 3}), H36M_17)
    with pytest.raises(TrainableError, match=r"loss_net_options of graph: .*width=250, heads=8"):
        build_loss_net(config(loss_net_options={"width": 250}), H36M_17)


def test_a_loss_net_without_its_rate_is_refused() -> None:
    baseline = config(loss_net="none", lr_l=None, alpha=0.0)
    net = nn.Linear(2, 2)
    with pytest.raises(TrainableError, match="lr_l is not set; set lr_l"):
        build_optimizers(baseline, net, net)
